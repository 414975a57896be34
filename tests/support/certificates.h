// Keys and certificates for tests, made while they run: none is kept in the tree, none expires.
#pragma once

#if WARREN_TLS

#include <cstdint>
#include <string>
#include <vector>

namespace warren::test {

enum class KeyType : uint8_t { rsa, p256, p384, ed25519 };

struct CertificateSpec {
  std::string subject = "test";      // common name, or all of it: "C=SE,O=test,CN=test"
  std::vector<std::string> names{};  // "DNS:example.com", "IP:127.0.0.1"
  KeyType type = KeyType::p256;
  unsigned rsaBits = 2048;
  bool sha1 = false;   // how it is signed
  int startDays = -1;  // from today
  int endDays = 30;
  int endSeconds = 0;      // from now, and not those days
  bool authority = false;  // may sign others
  uint64_t serial = 0;     // 0: random
};

// A private key and its certificate, as PEM.
struct Identity {
  std::string key;
  std::string cert;
};

Identity selfSigned(const CertificateSpec& spec);
Identity issue(const Identity& authority, const CertificateSpec& spec);

// A revocation list of `authority` with these certificates on it.
std::string revocationList(const Identity& authority, const std::vector<std::string>& revoked);

// The key as an encrypted PKCS#8 block.
std::string encrypted(const std::string& key, const std::string& passphrase);

// Made once in a process: a root, and a certificate of it for localhost, *.example.com and loopback.
const Identity& testAuthority();
const Identity& testLeaf(KeyType type = KeyType::p256);

}  // namespace warren::test

#endif  // WARREN_TLS
