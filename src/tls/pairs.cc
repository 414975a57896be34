// Which chain belongs to which key.
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/nid.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "tls/credentials_impl.h"
#include "tls/pem.h"

namespace warren::tls {
namespace {

using Keys = std::vector<Placed<EVP_PKEY>>;
using Chain = std::vector<bssl::UniquePtr<CRYPTO_BUFFER>>;

std::optional<KeyKind> kindOf(const EVP_PKEY* key) {
  switch (EVP_PKEY_id(key)) {
    case EVP_PKEY_RSA:
      return KeyKind::rsa;
    case EVP_PKEY_ED25519:
      return KeyKind::ed25519;
    case EVP_PKEY_EC:
      break;
    default:
      return std::nullopt;
  }
  switch (EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(key)))) {
    case NID_X9_62_prime256v1:
      return KeyKind::p256;
    case NID_secp384r1:
      return KeyKind::p384;
    case NID_secp521r1:
      return KeyKind::p521;
    default:
      return std::nullopt;
  }
}

const char* nameOf(KeyKind kind) {
  static constexpr const char* kNames[] = {"RSA", "P-256", "P-384", "P-521", "Ed25519"};
  return kNames[static_cast<size_t>(kind)];
}

bssl::UniquePtr<CRYPTO_BUFFER> bufferOf(X509* certificate) {
  uint8_t* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) return nullptr;
  const bssl::UniquePtr<uint8_t> owned(der);
  return bssl::UniquePtr<CRYPTO_BUFFER>(CRYPTO_BUFFER_new(der, static_cast<size_t>(size), nullptr));
}

// The index of the key that a certificate is for; keys.size() if there is none.
size_t keyFor(X509* certificate, const Keys& keys) {
  const bssl::UniquePtr<EVP_PKEY> wanted(X509_get_pubkey(certificate));
  const auto matches = [&wanted](const Placed<EVP_PKEY>& key) {
    return wanted && EVP_PKEY_cmp(wanted.get(), key.item.get()) == 1;
  };
  const auto found = std::find_if(keys.begin(), keys.end(), matches);
  ErrorScope::forget();  // comparing keys of different types is an error to BoringSSL
  return static_cast<size_t>(found - keys.begin());
}

// A certificate for one of the keys begins a chain, and what follows belongs to it.
Result<std::vector<Chain>> makeChains(const std::vector<Placed<X509>>& certificates,
                                      const Keys& keys) {
  std::vector<Chain> chains(keys.size());
  Chain* current = nullptr;
  for (const Placed<X509>& certificate : certificates) {
    const size_t index = keyFor(certificate.item.get(), keys);
    if (index < keys.size()) {
      current = &chains[index];
      if (!current->empty()) {
        return refusal(Usage::conflict,
                       certificate.place + " is a second certificate for " + keys[index].place);
      }
    }
    if (current == nullptr) {
      return refusal(Usage::conflict, certificate.place + " matches no key: " + keys[0].place +
                                          " belongs to another certificate");
    }
    current->push_back(bufferOf(certificate.item.get()));
    if (!current->back()) return outOfMemory(Step::options);
  }
  return chains;
}

Result<std::vector<Pair>> join(Keys& keys, std::vector<Chain>& chains) {
  std::vector<Pair> pairs;
  for (size_t index = 0; index < keys.size(); ++index) {
    Placed<EVP_PKEY>& key = keys[index];
    const std::optional<KeyKind> kind = kindOf(key.item.get());
    if (!kind) {
      return refusal(Usage::unsupported,
                     key.place + " is none of RSA, P-256, P-384, P-521, Ed25519");
    }
    if (chains[index].empty()) {
      return refusal(Usage::conflict, key.place + " matches no certificate");
    }
    for (const Pair& other : pairs) {
      if (other.kind != *kind) continue;
      return refusal(Usage::conflict, key.place + " is a second key of type " + nameOf(*kind));
    }
    pairs.push_back({*kind, std::move(key.item), std::move(chains[index])});
  }
  return pairs;
}

}  // namespace

std::vector<CRYPTO_BUFFER*> Pair::buffers() const {
  std::vector<CRYPTO_BUFFER*> all;
  for (const bssl::UniquePtr<CRYPTO_BUFFER>& one : chain) all.push_back(one.get());
  return all;
}

Result<std::vector<Pair>> makePairs(const TlsOptions& options) {
  Result<Keys> keys = readKeys(options.key, options.passphrase);
  if (!keys) return keys.error();
  const Result<std::vector<Placed<X509>>> certificates = readCertificates(options.cert, "cert");
  if (!certificates) return certificates.error();
  if (keys->empty() && certificates->empty()) return std::vector<Pair>();
  if (certificates->empty()) return refusal(Usage::missing, "cert is required with key");
  if (keys->empty()) return refusal(Usage::missing, "key is required with cert");

  const ErrorScope scope;
  Result<std::vector<Chain>> chains = makeChains(*certificates, *keys);
  ErrorScope::forget();
  if (!chains) return chains.error();
  return join(*keys, *chains);
}

}  // namespace warren::tls
