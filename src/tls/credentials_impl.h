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
#include "tls/ticket_keys.h"

namespace warren::tls {

enum class KeyKind : uint8_t { rsa, p256, p384, p521, ed25519 };

// A private key and the chain that goes with it, the leaf first.
struct Pair {
  KeyKind kind;
  bssl::UniquePtr<EVP_PKEY> key;
  std::vector<bssl::UniquePtr<CRYPTO_BUFFER>> chain;

  std::vector<CRYPTO_BUFFER*> buffers() const;  // the chain, as BoringSSL takes it
};

// What is taken for a signature in the handshake: BoringSSL's own list with Ed25519, which OpenSSL's
// servers use, and without SHA-1. Those in certificates are looked at by verify.cc.
inline constexpr uint16_t kSignatures[] = {
    SSL_SIGN_ECDSA_SECP256R1_SHA256, SSL_SIGN_ED25519,
    SSL_SIGN_RSA_PSS_RSAE_SHA256,    SSL_SIGN_RSA_PKCS1_SHA256,
    SSL_SIGN_ECDSA_SECP384R1_SHA384, SSL_SIGN_RSA_PSS_RSAE_SHA384,
    SSL_SIGN_RSA_PKCS1_SHA384,       SSL_SIGN_ECDSA_SECP521R1_SHA512,
    SSL_SIGN_RSA_PSS_RSAE_SHA512,    SSL_SIGN_RSA_PKCS1_SHA512,
};

// Which sessions may be resumed under which policy.
using SessionScope = std::array<uint8_t, 32>;

// Invariant: nothing changes once makeCredentials has returned it.
class Credentials {
 public:
  // Sets on `ssl` what it has of its own from another context: BoringSSL's SSL_set_SSL_CTX leaves
  // versions, verification and limits as they were.
  bool apply(SSL* ssl) const;

  Role role = Role::client;
  bssl::UniquePtr<SSL_CTX> context;
  std::vector<Pair> pairs;
  std::vector<TicketKey> ticketKeys;
  std::string serverName;
  std::string alpn;  // as in the extension: each name after its length
  std::string curves;
  std::string ciphers;
  std::string ocspResponse;
  bool requestCert = false;
  bool rejectUnauthorized = true;
  bool trustsSome = false;    // the context knows whom
  bool rootsMissing = false;  // the system's were asked for, and it has none
  bool sessionTickets = true;
  bool cacheSessions = false;
  bool tolerateTruncation = false;
  TlsVersion minVersion = TlsVersion::tls12;
  TlsVersion maxVersion = TlsVersion::tls13;
  size_t maxSendFragment = 0;
  size_t maxCertificateChain = 0;
  SessionScope scope{};
  Callback<std::string_view> keylog;
};

// --- the parts of makeCredentials --------------------------------------------------------------

// `loaded` is what the library calls itself.
Result<void> checkLibrary(std::string_view loaded);

// pairs.cc: matches keys and chains.
Result<std::vector<Pair>> makePairs(const TlsOptions& options);

// trust.cc: the store for verification, the names to ask clients for, and the digest of both.
Result<void> setTrust(Credentials& credentials, const TlsOptions& options);

}  // namespace warren::tls
