#include "tls_fixed.h"

#include <sys/time.h>

#include <cstddef>
#include <ctime>
#include <utility>

namespace {

constexpr time_t kNow = 1'700'000'000;

thread_local uint64_t state = 1;  // never 0

}  // namespace

// Weak, so that a BoringSSL that is linked statically keeps its own: targets are then not the same every
// time, but as strict.
extern "C" {
__attribute__((weak)) int RAND_bytes(uint8_t* into, size_t size) {
  for (size_t at = 0; at < size; ++at) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    into[at] = static_cast<uint8_t>(state >> 32);
  }
  return 1;
}

time_t time(time_t* into) noexcept {
  if (into != nullptr) *into = kNow;
  return kNow;
}

int gettimeofday(timeval* into, void*) noexcept {
  *into = {kNow, 0};
  return 0;
}
}

namespace warren::fuzz {

void setChance(uint64_t next) { state = next | 1; }

uint64_t chance() { return state; }

bool chanceIsOurs() {
  uint8_t byte = 0;
  const uint64_t before = state;
  RAND_bytes(&byte, 1);
  return std::exchange(state, before) != before;
}

const Identities& identities() {
  constexpr auto kType = test::KeyType::ed25519;
  static const Identities made = [] {
    setChance(1);
    Identities all;
    all.authority = test::selfSigned({.subject = "root", .type = kType, .authority = true});
    all.localhost =
        test::issue(all.authority, {.subject = "leaf", .names = {"DNS:localhost"}, .type = kType});
    all.example = test::issue(
        all.authority, {.subject = "example", .names = {"DNS:*.example.com"}, .type = kType});
    all.stranger =
        test::selfSigned({.subject = "stranger", .names = {"DNS:localhost"}, .type = kType});
    return all;
  }();
  return made;
}

}  // namespace warren::fuzz
