#include "secure.h"

#include <cstddef>

#if WARREN_TLS

namespace {

thread_local uint64_t row = 1;

}  // namespace

// BoringSSL asks itself for chance through its public name. Weak, so that one that is linked statically
// keeps its own: its runs are then not the same every time, but as strict.
extern "C" __attribute__((weak)) int RAND_bytes(uint8_t* into, size_t size) {
  for (size_t at = 0; at < size; ++at) {
    uint64_t mixed = row += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    into[at] = static_cast<uint8_t>((mixed ^ (mixed >> 31)) >> 56);
  }
  return 1;
}

#endif

namespace warren::swarm {

namespace {

TlsOptions inManner(TlsOptions options, const TlsManner& manner) {
  options.handshakeTimeout = std::chrono::milliseconds(kHandshake);
  options.tolerateTruncation = manner.tolerant;
  if (manner.old) options.maxVersion = TlsVersion::tls12;
  return options;
}

}  // namespace

#if WARREN_TLS

bool tlsBuilt() { return true; }

void seedTls(uint64_t seed) { row = seed; }

const test::Identity& serverIdentity() {
  static const test::Identity made = [] {
    const uint64_t before = row;
    seedTls(1);
    test::Identity identity = test::selfSigned(
        {.subject = "swarm", .type = test::KeyType::ed25519, .serial = uint64_t{1} << 60});
    seedTls(before);
    return identity;
  }();
  return made;
}

// Whom to trust is said only because the system's roots take long to read.
TlsOptions clientTls(const TlsManner& manner) {
  return inManner({.ca = serverIdentity().cert, .rejectUnauthorized = false}, manner);
}

// The keys of tickets are given, since making them is chance that only the first program would meet.
TlsOptions serverTls(const TlsManner& manner) {
  const test::Identity& shown = serverIdentity();
  TlsOptions options{.key = shown.key, .cert = shown.cert};
  options.ticketKeys = {std::string(48, 'k')};
  return inManner(std::move(options), manner);
}

#else

bool tlsBuilt() { return false; }

void seedTls(uint64_t) {}

TlsOptions serverTls(const TlsManner& manner) { return inManner({}, manner); }
TlsOptions clientTls(const TlsManner& manner) { return inManner({}, manner); }

#endif

}  // namespace warren::swarm
