#include "tls/verify.h"

#include <openssl/x509v3.h>

#include <utility>

#include "base/tls_names.h"
#include "tls/callbacks.h"
#include "tls/certificate.h"
#include "tls/credentials_impl.h"

namespace warren::tls {
namespace {

// Where nothing but the peer's own certificate was there to be looked at, its signature is what could
// not be verified. OpenSSL, and so Node.js and Bun, tell that from a longer chain without an end. And
// one that names itself as issuer is self-signed, also where its key usage does not say it may sign.
int codeOf(X509_STORE_CTX* chain) {
  const int code = X509_STORE_CTX_get_error(chain);
  const STACK_OF(X509)* const certificates = X509_STORE_CTX_get0_chain(chain);
  const bool alone = certificates != nullptr && sk_X509_num(certificates) == 1;
  if (code != X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY || !alone) return code;
  X509* const leaf = sk_X509_value(certificates, 0);
  if (X509_NAME_cmp(X509_get_subject_name(leaf), X509_get_issuer_name(leaf)) == 0) {
    return X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
  }
  return X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
}

// What the peer has written may be as long as its certificate, and is kept as long as the session.
std::string shortened(const std::string& text) {
  constexpr size_t kEnough = 256;
  return text.size() <= kEnough ? text : text.substr(0, kEnough) + "...";
}

std::string namesOf(const Certificate& certificate) {
  std::string list;
  for (const std::string& name : certificate.names) list += (list.empty() ? "" : ", ") + name;
  return list.empty() ? "no names" : shortened(list);
}

Verdict verdictOf(X509_STORE_CTX* chain, const Credentials& credentials) {
  Verdict verdict{codeOf(chain), {}};
  X509* const culprit = X509_STORE_CTX_get_current_cert(chain);
  const Certificate certificate = culprit != nullptr ? describe(culprit) : Certificate();
  verdict.detail = "the certificate of \"" + shortened(certificate.subject) +
                   "\": " + X509_verify_cert_error_string(verdict.code);
  if (verdict.code == X509_V_ERR_HOSTNAME_MISMATCH ||
      verdict.code == X509_V_ERR_IP_ADDRESS_MISMATCH) {
    verdict.detail += "; it is for " + namesOf(certificate);
  } else if (credentials.rootsMissing) {
    verdict.detail += "; no roots were found on this system";
  }
  return verdict;
}

// BoringSSL reads numbers with leading zeros, and lets anything follow the fourth: "10.0.0.1.example.com".
bool isWritten(const std::string& host, const uint8_t* bytes) {
  std::string text = std::to_string(bytes[0]);
  for (size_t i = 1; i < 4; ++i) text += "." + std::to_string(bytes[i]);
  return text == host;
}

}  // namespace

bool isAddress(const std::string& host) {
  const bssl::UniquePtr<ASN1_OCTET_STRING> address(a2i_IPADDRESS(host.c_str()));
  ErrorScope::forget();
  if (address == nullptr) return false;
  return ASN1_STRING_length(address.get()) != 4 ||
         isWritten(host, ASN1_STRING_get0_data(address.get()));
}

std::string canonicalHost(std::string host) {
  if (host.find(':') != std::string::npos) return host.substr(0, host.find('%'));
  if (host.ends_with('.')) host.pop_back();
  return host;
}

bool expectHost(SSL* ssl, const std::string& host) {
  X509_VERIFY_PARAM* const param = SSL_get0_param(ssl);
  // The common name is no name to verify, and "www*.example.com" is no wildcard.
  X509_VERIFY_PARAM_set_hostflags(
      param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (isAddress(host)) return X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str()) == 1;
  return X509_VERIFY_PARAM_set1_host(param, host.data(), host.size()) == 1;
}

int verifyChain(X509_STORE_CTX* chain, void*) {
  const auto* const ssl = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const Credentials& credentials = Callbacks::credentialsOf(ssl);
  if (X509_verify_cert(chain) == 1) {
    Callbacks::note(ssl, Verdict());
    return 1;
  }
  Verdict verdict = verdictOf(chain, credentials);
  if (verdict.code == X509_V_OK) verdict.code = X509_V_ERR_UNSPECIFIED;  // it failed, why ever
  X509_STORE_CTX_set_error(chain, verdict.code);  // kept in the session, and decides on the alert
  Callbacks::note(ssl, std::move(verdict));
  return Callbacks::rejects(ssl) ? 0 : 1;
}

Error verifyError(const Verdict& verdict) {
  if (verdict.code == X509_V_OK) return {};
  std::string detail = verdict.detail;
  if (detail.empty()) detail = X509_verify_cert_error_string(verdict.code);
  return {Origin::tls, base::kTlsVerify + verdict.code, Step::handshake, std::move(detail)};
}

}  // namespace warren::tls
