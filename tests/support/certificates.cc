#include "support/certificates.h"

#if WARREN_TLS

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/cipher.h>
#include <openssl/curve25519.h>
#include <openssl/digest.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <sstream>

namespace warren::test {
namespace {

void must(bool done) {
  if (done) return;
  std::fputs("certificates for the tests cannot be made\n", stderr);
  std::abort();
}

bssl::UniquePtr<EVP_PKEY> makeKey(KeyType type, unsigned rsaBits) {
  bssl::UniquePtr<EVP_PKEY> key;
  if (type == KeyType::ed25519) {
    uint8_t seed[32];
    RAND_bytes(seed, sizeof seed);
    key.reset(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed, sizeof seed));
    must(key != nullptr);
    return key;
  }
  key.reset(EVP_PKEY_new());
  if (type == KeyType::rsa) {
    const bssl::UniquePtr<BIGNUM> exponent(BN_new());
    bssl::UniquePtr<RSA> rsa(RSA_new());
    must(BN_set_word(exponent.get(), RSA_F4) &&
         RSA_generate_key_ex(rsa.get(), static_cast<int>(rsaBits), exponent.get(), nullptr) &&
         EVP_PKEY_assign_RSA(key.get(), rsa.release()));
    return key;
  }
  const int curve = type == KeyType::p384 ? NID_secp384r1 : NID_X9_62_prime256v1;
  bssl::UniquePtr<EC_KEY> point(EC_KEY_new_by_curve_name(curve));
  must(EC_KEY_generate_key(point.get()) && EVP_PKEY_assign_EC_KEY(key.get(), point.release()));
  return key;
}

std::string contentOf(BIO* bio) {
  const uint8_t* data = nullptr;
  size_t size = 0;
  must(BIO_mem_contents(bio, &data, &size) != 0);
  return {reinterpret_cast<const char*>(data), size};
}

template <class Write>
std::string pem(Write write) {
  const bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  must(write(bio.get()) != 0);
  return contentOf(bio.get());
}

bssl::UniquePtr<BIO> reading(const std::string& text) {
  return bssl::UniquePtr<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

bssl::UniquePtr<EVP_PKEY> parseKey(const std::string& text) {
  bssl::UniquePtr<EVP_PKEY> key(
      PEM_read_bio_PrivateKey(reading(text).get(), nullptr, nullptr, nullptr));
  must(key != nullptr);
  return key;
}

bssl::UniquePtr<X509> parseCertificate(const std::string& text) {
  bssl::UniquePtr<X509> certificate(
      PEM_read_bio_X509(reading(text).get(), nullptr, nullptr, nullptr));
  must(certificate != nullptr);
  return certificate;
}

void extend(X509* certificate, X509* issuer, int what, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const bssl::UniquePtr<X509_EXTENSION> extension(
      X509V3_EXT_nconf_nid(nullptr, &context, what, const_cast<char*>(value.c_str())));
  must(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) != 0);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ",") + name;
  return text;
}

const EVP_MD* digestFor(const EVP_PKEY* key) {
  return EVP_PKEY_id(key) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
}

void name(X509* certificate, const std::string& subject) {
  std::istringstream fields(subject.find('=') == std::string::npos ? "CN=" + subject : subject);
  for (std::string field; std::getline(fields, field, ',');) {
    const size_t equals = field.find('=');
    must(X509_NAME_add_entry_by_txt(
             X509_get_subject_name(certificate), field.substr(0, equals).c_str(), MBSTRING_UTF8,
             reinterpret_cast<const uint8_t*>(field.c_str() + equals + 1), -1, -1, 0) != 0);
  }
}

Identity make(const CertificateSpec& spec, const Identity* authority) {
  const bssl::UniquePtr<EVP_PKEY> key = makeKey(spec.type, spec.rsaBits);
  const bssl::UniquePtr<X509> certificate(X509_new());
  X509* const x509 = certificate.get();
  const bssl::UniquePtr<X509> issuer =
      authority != nullptr ? parseCertificate(authority->cert) : bssl::UpRef(certificate);
  const bssl::UniquePtr<EVP_PKEY> signer =
      authority != nullptr ? parseKey(authority->key) : bssl::UpRef(key);

  X509_set_version(x509, 2);
  uint64_t serial = spec.serial;
  if (serial == 0) RAND_bytes(reinterpret_cast<uint8_t*>(&serial), sizeof serial);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial & INT64_MAX);
  X509_gmtime_adj(X509_getm_notBefore(x509), 86400L * spec.startDays);
  X509_gmtime_adj(X509_getm_notAfter(x509),
                  spec.endSeconds != 0 ? spec.endSeconds : 86400L * spec.endDays);
  name(x509, spec.subject);
  X509_set_issuer_name(x509, X509_get_subject_name(issuer.get()));
  X509_set_pubkey(x509, key.get());
  extend(x509, issuer.get(), NID_basic_constraints,
         spec.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  extend(x509, issuer.get(), NID_key_usage,
         spec.authority ? "critical,keyCertSign,cRLSign,digitalSignature"
                        : "critical,digitalSignature,keyEncipherment");
  if (!spec.names.empty()) extend(x509, issuer.get(), NID_subject_alt_name, joined(spec.names));
  must(X509_sign(x509, signer.get(), spec.sha1 ? EVP_sha1() : digestFor(signer.get())) != 0);

  Identity identity;
  identity.cert = pem([x509](BIO* bio) { return PEM_write_bio_X509(bio, x509); });
  identity.key = pem([&key](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
  return identity;
}

}  // namespace

Identity selfSigned(const CertificateSpec& spec) { return make(spec, nullptr); }

Identity issue(const Identity& authority, const CertificateSpec& spec) {
  return make(spec, &authority);
}

std::string revocationList(const Identity& authority, const std::vector<std::string>& revoked) {
  const bssl::UniquePtr<X509> issuer = parseCertificate(authority.cert);
  const bssl::UniquePtr<EVP_PKEY> key = parseKey(authority.key);
  const bssl::UniquePtr<X509_CRL> list(X509_CRL_new());
  const bssl::UniquePtr<ASN1_TIME> before(ASN1_TIME_set(nullptr, time(nullptr) - 86400));
  const bssl::UniquePtr<ASN1_TIME> after(ASN1_TIME_set(nullptr, time(nullptr) + 86400));
  X509_CRL_set_version(list.get(), 1);
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(issuer.get()));
  X509_CRL_set1_lastUpdate(list.get(), before.get());
  X509_CRL_set1_nextUpdate(list.get(), after.get());
  for (const std::string& text : revoked) {
    const bssl::UniquePtr<X509> certificate = parseCertificate(text);
    bssl::UniquePtr<X509_REVOKED> entry(X509_REVOKED_new());
    X509_REVOKED_set_serialNumber(entry.get(), X509_get_serialNumber(certificate.get()));
    X509_REVOKED_set_revocationDate(entry.get(), before.get());
    must(X509_CRL_add0_revoked(list.get(), entry.release()) != 0);
  }
  must(X509_CRL_sign(list.get(), key.get(), digestFor(key.get())) != 0);
  return pem([&list](BIO* bio) { return PEM_write_bio_X509_CRL(bio, list.get()); });
}

std::string encrypted(const std::string& key, const std::string& passphrase) {
  const bssl::UniquePtr<EVP_PKEY> parsed = parseKey(key);
  return pem([&](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, parsed.get(), EVP_aes_256_cbc(),
                                         const_cast<char*>(passphrase.data()),
                                         static_cast<int>(passphrase.size()), nullptr, nullptr);
  });
}

const Identity& testAuthority() {
  static const Identity root = selfSigned({.subject = "root", .authority = true});
  return root;
}

const Identity& testLeaf(KeyType type) {
  static std::map<KeyType, Identity> leaves;
  const auto known = leaves.find(type);
  if (known != leaves.end()) return known->second;
  const CertificateSpec spec{
      .subject = "leaf",
      .names = {"DNS:localhost", "DNS:*.example.com", "IP:127.0.0.1", "IP:::1"},
      .type = type};
  return leaves.emplace(type, issue(testAuthority(), spec)).first->second;
}

}  // namespace warren::test

#endif  // WARREN_TLS
