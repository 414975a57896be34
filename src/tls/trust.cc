// Whom credentials trust.
#include <openssl/sha.h>
#include <openssl/x509.h>

#include <utility>

#include "tls/credentials_impl.h"
#include "tls/pem.h"
#include "tls/roots.h"
#include "tls/verify.h"

namespace warren::tls {
namespace {

using Certificates = std::vector<Placed<X509>>;
using Revocations = std::vector<Placed<X509_CRL>>;

bool addAll(X509_STORE* store, const Certificates& certificates, const Revocations& revocations) {
  for (const Placed<X509>& certificate : certificates) {
    if (!X509_STORE_add_cert(store, certificate.item.get())) return false;
  }
  for (const Placed<X509_CRL>& revocation : revocations) {
    if (!X509_STORE_add_crl(store, revocation.item.get())) return false;
  }
  unsigned long flags = 0;
  // What the user names is trusted as it is, root or not: an intermediate, or the very certificate.
  if (!certificates.empty()) flags |= X509_V_FLAG_PARTIAL_CHAIN;
  if (!revocations.empty()) flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
  return X509_STORE_set_flags(store, flags) != 0;
}

bool addSystemRoots(X509_STORE* store) {
  for (const bssl::UniquePtr<X509>& root : systemRoots().certificates) {
    if (!X509_STORE_add_cert(store, root.get())) return false;
  }
  return true;
}

// The system's store is shared as it is; only a store that says more is made.
bssl::UniquePtr<X509_STORE> storeOf(const Certificates& ca, const Revocations& crl) {
  if (ca.empty() && crl.empty()) {
    X509_STORE* const shared = systemRoots().store.get();
    if (shared == nullptr || !X509_STORE_up_ref(shared)) return nullptr;
    return bssl::UniquePtr<X509_STORE>(shared);
  }
  bssl::UniquePtr<X509_STORE> store(X509_STORE_new());
  if (!store || !addAll(store.get(), ca, crl)) return nullptr;
  if (ca.empty() && !addSystemRoots(store.get())) return nullptr;
  return store;
}

// A server tells clients whom it trusts, so that they know what to show.
bool nameAuthorities(SSL_CTX* context, const Certificates& ca) {
  for (const Placed<X509>& certificate : ca) {
    if (!SSL_CTX_add_client_CA(context, certificate.item.get())) return false;
  }
  return true;
}

// `toDer` takes a T*, or in later versions of BoringSSL a const T*.
template <class T, class ToDer>
bool digest(SHA256_CTX& sum, const std::vector<Placed<T>>& items, ToDer toDer) {
  for (const Placed<T>& item : items) {
    uint8_t* der = nullptr;
    const int size = toDer(item.item.get(), &der);
    if (size <= 0) return false;
    const bssl::UniquePtr<uint8_t> owned(der);
    SHA256_Update(&sum, der, static_cast<size_t>(size));
  }
  return true;
}

// Sessions are resumed only where the same is trusted: otherwise a ticket from before a revocation,
// or from a server name that asks for no certificate, would open the door.
bool setScope(Credentials& credentials, const Certificates& ca, const Revocations& crl) {
  const uint8_t flags[] = {static_cast<uint8_t>(credentials.role), static_cast<uint8_t>(ca.empty()),
                           static_cast<uint8_t>(crl.empty())};
  SHA256_CTX sum;
  SHA256_Init(&sum);
  SHA256_Update(&sum, flags, sizeof flags);
  const bool whole = digest(sum, ca, i2d_X509) && digest(sum, crl, i2d_X509_CRL);
  SHA256_Final(credentials.scope.data(), &sum);
  return whole;
}

}  // namespace

Result<void> setTrust(Credentials& credentials, const TlsOptions& options) {
  const Result<Certificates> ca = readCertificates(options.ca, "ca");
  if (!ca) return ca.error();
  const Result<Revocations> crl = readRevocations(options.crl);
  if (!crl) return crl.error();

  const ErrorScope scope;
  bool done = setScope(credentials, *ca, *crl);
  SSL_CTX_set_cert_verify_callback(credentials.context.get(), verifyChain, nullptr);
  // The system's roots are not read for servers that ask nobody for a certificate.
  const bool needed = credentials.role == Role::client || credentials.requestCert;
  if (done && (needed || !ca->empty() || !crl->empty())) {
    bssl::UniquePtr<X509_STORE> store = storeOf(*ca, *crl);
    done = store != nullptr && nameAuthorities(credentials.context.get(), *ca);
    SSL_CTX_set_cert_store(credentials.context.get(), store.release());
    credentials.trustsSome = true;
    credentials.rootsMissing = ca->empty() && systemRoots().certificates.empty();
  }
  ErrorScope::forget();
  if (!done) return outOfMemory(Step::options);
  return {};
}

}  // namespace warren::tls
