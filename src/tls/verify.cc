#include "tls/verify.h"

#include <openssl/asn1.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/x509v3.h>

#include <algorithm>
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

// What BoringSSL lets pass and OpenSSL, from 3.2 on, does not: anybody can sign in the name of such an
// authority. The codes are OpenSSL's plus 100, since BoringSSL means something else by them.
enum Weakness : int { kKeyTooSmall = 166, kAuthorityKeyTooSmall, kDigestTooWeak };

constexpr unsigned kSmallestRsa = 2048;  // bits

std::string reasonFor(int code) {
  switch (code) {
    case kKeyTooSmall:
    case kAuthorityKeyTooSmall:
      return "its RSA key has fewer than 2048 bits";
    case kDigestTooWeak:
      return "it was signed with MD5 or SHA-1";
    default:
      return X509_verify_cert_error_string(code);
  }
}

// Why a certificate is not taken, and which one.
struct Flaw {
  int code = X509_V_OK;
  X509* culprit = nullptr;
};

bool hasSmallKey(X509* certificate) {
  const bssl::UniquePtr<EVP_PKEY> key(X509_get_pubkey(certificate));
  return key != nullptr && EVP_PKEY_id(key.get()) == EVP_PKEY_RSA &&
         static_cast<unsigned>(EVP_PKEY_bits(key.get())) < kSmallestRsa;
}

bool isSignedWeakly(const X509* certificate) {
  int digest = NID_undef;
  int key = NID_undef;
  if (OBJ_find_sigid_algs(X509_get_signature_nid(certificate), &digest, &key) == 0) return false;
  return digest == NID_md4 || digest == NID_md5 || digest == NID_sha1;
}

// In a chain that is good otherwise, from the peer's own certificate to one that is trusted as it is.
Flaw weaknessIn(const STACK_OF(X509) * chain) {
  const size_t count = sk_X509_num(chain);
  for (size_t place = 0; place < count; ++place) {
    X509* const one = sk_X509_value(chain, place);
    if (hasSmallKey(one)) return {place == 0 ? kKeyTooSmall : kAuthorityKeyTooSmall, one};
    if (place + 1 < count && isSignedWeakly(one)) return {kDigestTooWeak, one};
  }
  return {};
}

// Nobody looks at the certificates again when a session is resumed, so it may live no longer than they.
void limitSession(SSL_SESSION* fresh, const STACK_OF(X509) * chain) {
  for (size_t place = 0; fresh != nullptr && place < sk_X509_num(chain); ++place) {
    int days = 0;
    int seconds = 0;
    const ASN1_TIME* const end = X509_get0_notAfter(sk_X509_value(chain, place));
    if (!ASN1_TIME_diff(&days, &seconds, nullptr, end)) continue;
    const int64_t left = std::max<int64_t>(int64_t{days} * 24 * 60 * 60 + seconds, 0);
    if (left < SSL_SESSION_get_timeout(fresh))
      SSL_SESSION_set_timeout(fresh, static_cast<uint32_t>(left));
  }
}

Verdict verdictOn(const Flaw& flaw, const Credentials& credentials) {
  Verdict verdict{flaw.code, {}};
  if (flaw.code == X509_V_OK) return verdict;
  const Certificate certificate = flaw.culprit != nullptr ? describe(flaw.culprit) : Certificate();
  verdict.detail =
      "the certificate of \"" + shortened(certificate.subject) + "\": " + reasonFor(verdict.code);
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
  const bool good = X509_verify_cert(chain) == 1;
  const STACK_OF(X509)* const certificates = X509_STORE_CTX_get0_chain(chain);
  Flaw flaw =
      good ? weaknessIn(certificates) : Flaw{codeOf(chain), X509_STORE_CTX_get_current_cert(chain)};
  if (!good && flaw.code == X509_V_OK) flaw.code = X509_V_ERR_UNSPECIFIED;  // it failed, why ever
  if (flaw.code == X509_V_OK && Callbacks::expectsNobody(ssl)) {
    // Trusted, but as whom? Only who does not insist comes here.
    flaw = {X509_V_ERR_HOSTNAME_MISMATCH, sk_X509_value(certificates, 0)};
  }
  if (flaw.code == X509_V_OK) limitSession(SSL_get_session(ssl), certificates);
  X509_STORE_CTX_set_error(chain, flaw.code);  // kept in the session, and decides on the alert
  Callbacks::note(ssl, verdictOn(flaw, Callbacks::credentialsOf(ssl)));
  return flaw.code == X509_V_OK || !Callbacks::rejects(ssl) ? 1 : 0;
}

Error verifyError(const Verdict& verdict) {
  if (verdict.code == X509_V_OK) return {};
  std::string detail = verdict.detail;
  if (detail.empty()) detail = reasonFor(verdict.code);
  return {Origin::tls, base::kTlsVerify + verdict.code, Step::handshake, std::move(detail)};
}

}  // namespace warren::tls
