// What Credentials hold; for this floor only.
#pragma once

#include <openssl/evp.h>
#include <openssl/pool.h>
#include <openssl/x509.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tls/boring.h"
#include "tls/credentials.h"
#include "tls/session_cache.h"

namespace warren::tls {

enum class KeyKind : uint8_t { rsa, p256, p384, p521, ed25519 };

// A private key and the chain that goes with it, the leaf first.
struct Pair {
  KeyKind kind;
  bssl::UniquePtr<EVP_PKEY> key;
  std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> chain;
};

struct TicketKey {
  std::array<uint8_t, 16> name;
  std::array<uint8_t, 16> hmac;
  std::array<uint8_t, 16> aes;
};

// Which sessions may be resumed under which policy.
using SessionScope = std::array<uint8_t, 32>;

// Invariant: nothing changes once makeCredentials has returned it, but for the cache, which locks.
class Credentials {
 public:
  // Sets on `ssl` what it has of its own from another context: BoringSSL's SSL_set_SSL_CTX leaves
  // versions, verification and limits as they were.
  bool apply(SSL* ssl) const;

  bool verifies() const { return role == Role::client || requestCert; }

  Role role = Role::client;
  bssl::UniquePtr<SSL_CTX> context;
  std::vector<Pair> pairs;
  std::vector<TicketKey> ticketKeys;
  std::string serverName;
  std::string alpn;  // as in the extension: each name after its length
  std::string curves;
  bool ordered = false;  // the user has said which ciphers or groups are better
  bool requestCert = false;
  bool rejectUnauthorized = true;
  bool rootsMissing = false;  // the system's were asked for, and it has none
  bool sessionTickets = true;
  TlsVersion minVersion = TlsVersion::tls12;
  TlsVersion maxVersion = TlsVersion::tls13;
  size_t maxSendFragment = 0;
  size_t maxCertificateChain = 0;
  SessionScope scope{};
  Callback<std::string_view> keylog;
  std::unique_ptr<SessionCache> cache;
};

// --- the parts of makeCredentials --------------------------------------------------------------

// pairs.cc: matches keys and chains.
Result<std::vector<Pair>> makePairs(const TlsOptions& options);

// trust.cc: the store for verification, the names to ask clients for, and the digest of both.
Result<void> setTrust(Credentials& credentials, const TlsOptions& options);

}  // namespace warren::tls
