// Whether the peer is who it should be.
#pragma once

#include <openssl/x509.h>

#include <string>

#include "tls/boring.h"

namespace warren::tls {

class Credentials;

// What verification came to. `code` is X509_V_OK or an X509_V_ERR_ number.
struct Verdict {
  int code = X509_V_OK;
  std::string detail;  // who and why, in words
};

// Sets whom to expect: a name or an address, by subject alternative names only. `host` is not empty.
bool expectHost(SSL* ssl, const std::string& host);

// Whether a host is an address as certificates have it.
bool isAddress(const std::string& host);

// "example.com." and "fe80::1%eth0" as certificates and SNI have them: without dot and zone.
std::string canonicalHost(std::string host);

// BoringSSL's hook: verifies, lets the session note the verdict, and insists on it if the options do.
int verifyChain(X509_STORE_CTX* chain, void* unused);

// "ERR_TLS_CERT_ALTNAME_INVALID" and the like, as an Error.
Error verifyError(const Verdict& verdict);

}  // namespace warren::tls
