// PEM texts and files to keys, certificates and revocation lists.
#pragma once

#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tls/boring.h"
#include "warren/tls.h"

namespace warren::tls {

// Something read from a PEM block, and where it stood, for messages: `cert[1] "a.pem", block 2 (line 31)`.
template <class T>
struct Placed {
  bssl::UniquePtr<T> item;
  std::string place;
};

// A text, or the content of the file it names. At most 16 MiB.
Result<std::string> readPem(const Pem& pem, const std::string& place);

// Every block of the kind in question; blocks of other known kinds are passed over, since files with
// both key and chain are common. A list that was given has at least one.
//   errors  Origin::usage: option, file, block, line and reason
Result<std::vector<Placed<EVP_PKEY>>> readKeys(const PemList& list, const std::string& passphrase);
Result<std::vector<Placed<X509>>> readCertificates(const PemList& list, std::string_view option);
Result<std::vector<Placed<X509_CRL>>> readRevocations(const PemList& list);

// The certificates of a text that can be read, the others passed over: for the system's roots.
std::vector<bssl::UniquePtr<X509>> readableCertificates(const std::string& text);

}  // namespace warren::tls
