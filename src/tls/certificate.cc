#include "tls/certificate.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/digest.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace warren::tls {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

std::string hexOf(const uint8_t* data, size_t size) {
  std::string text;
  for (size_t index = 0; index < size; ++index) {
    text += kDigits[data[index] >> 4];
    text += kDigits[data[index] & 15];
  }
  return text;
}

std::string nameText(X509_NAME* name) {
  const bssl::UniquePtr<BIO> bio(BIO_new(BIO_s_mem()));
  const uint8_t* text = nullptr;
  size_t size = 0;
  if (!bio || X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253) < 0) return {};
  if (!BIO_mem_contents(bio.get(), &text, &size)) return {};
  return std::string(textOf(text, size));
}

std::string serialText(X509* certificate) {
  const bssl::UniquePtr<BIGNUM> number(
      ASN1_INTEGER_to_BN(X509_get_serialNumber(certificate), nullptr));
  const bssl::UniquePtr<char> text(number ? BN_bn2hex(number.get()) : nullptr);
  return text ? text.get() : std::string();
}

// Seconds since 1970, by way of a difference: that every version of BoringSSL can tell.
int64_t secondsOf(const ASN1_TIME* time) {
  const bssl::UniquePtr<ASN1_TIME> epoch(ASN1_TIME_set(nullptr, 0));
  int days = 0;
  int seconds = 0;
  if (!epoch || !ASN1_TIME_diff(&days, &seconds, epoch.get(), time)) return 0;
  return int64_t{days} * 86400 + seconds;
}

std::string ipv4Text(const uint8_t* octet) {
  std::string text;
  for (int index = 0; index < 4; ++index) {
    text += (index == 0 ? "" : ".") + std::to_string(octet[index]);
  }
  return text;
}

struct Run {
  size_t start = 0;
  size_t size = 0;
};

Run longestZeros(const std::array<unsigned, 8>& groups) {
  Run longest;
  Run run;
  for (size_t index = 0; index < groups.size(); ++index) {
    if (groups[index] != 0) {
      run = {index + 1, 0};
    } else if (++run.size > longest.size) {
      longest = run;
    }
  }
  return longest.size > 1 ? longest : Run();
}

// RFC 5952: lower case, the longest run of zeros as "::".
std::string ipv6Text(const uint8_t* octet) {
  std::array<unsigned, 8> groups{};
  for (size_t index = 0; index < groups.size(); ++index) {
    groups[index] = static_cast<unsigned>(octet[2 * index] << 8 | octet[2 * index + 1]);
  }
  const Run zeros = longestZeros(groups);
  std::string text;
  for (size_t index = 0; index < groups.size();) {
    if (zeros.size > 0 && index == zeros.start) {
      text += "::";
      index += zeros.size;
      continue;
    }
    if (!text.empty() && text.back() != ':') text += ':';
    char digits[4];
    const auto end = std::to_chars(digits, digits + sizeof digits, groups[index++], 16).ptr;
    text.append(digits, end);
  }
  return text;
}

std::string addressText(const ASN1_OCTET_STRING* address) {
  const uint8_t* const octet = ASN1_STRING_get0_data(address);
  switch (ASN1_STRING_length(address)) {
    case 4:
      return ipv4Text(octet);
    case 16:
      return ipv6Text(octet);
    default:
      return {};
  }
}

std::string alternativeName(const GENERAL_NAME* name) {
  const auto text = [name] {
    return std::string(textOf(ASN1_STRING_get0_data(name->d.ia5),
                              static_cast<size_t>(ASN1_STRING_length(name->d.ia5))));
  };
  switch (name->type) {
    case GEN_DNS:
      return "DNS:" + text();
    case GEN_IPADD:
      return "IP:" + addressText(name->d.iPAddress);
    case GEN_URI:
      return "URI:" + text();
    case GEN_EMAIL:
      return "email:" + text();
    default:
      return {};
  }
}

std::vector<std::string> alternativeNames(const X509* certificate) {
  std::vector<std::string> names;
  const bssl::UniquePtr<GENERAL_NAMES> all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  if (!all) return names;
  for (size_t index = 0; index < sk_GENERAL_NAME_num(all.get()); ++index) {
    std::string name = alternativeName(sk_GENERAL_NAME_value(all.get(), index));
    if (!name.empty()) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace

Certificate describe(X509* x509) {
  Certificate certificate;
  certificate.subject = nameText(X509_get_subject_name(x509));
  certificate.issuer = nameText(X509_get_issuer_name(x509));
  certificate.serial = serialText(x509);
  certificate.names = alternativeNames(x509);
  certificate.notBefore = secondsOf(X509_get0_notBefore(x509));
  certificate.notAfter = secondsOf(X509_get0_notAfter(x509));
  uint8_t* der = nullptr;
  const int size = i2d_X509(x509, &der);
  if (size > 0) {
    const bssl::UniquePtr<uint8_t> owned(der);
    certificate.der = textOf(der, static_cast<size_t>(size));
  }
  uint8_t sum[EVP_MAX_MD_SIZE];
  unsigned sumSize = 0;
  if (X509_digest(x509, EVP_sha256(), sum, &sumSize)) certificate.fingerprint = hexOf(sum, sumSize);
  ErrorScope::forget();
  return certificate;
}

Certificate describe(const CRYPTO_BUFFER* der) {
  const uint8_t* data = CRYPTO_BUFFER_data(der);
  const bssl::UniquePtr<X509> x509(
      d2i_X509(nullptr, &data, static_cast<long>(CRYPTO_BUFFER_len(der))));
  ErrorScope::forget();
  return x509 ? describe(x509.get()) : Certificate();
}

}  // namespace warren::tls
