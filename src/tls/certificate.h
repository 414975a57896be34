// Certificates in words.
#pragma once

#include <openssl/pool.h>
#include <openssl/x509.h>

#include "tls/boring.h"
#include "warren/tls.h"

namespace warren::tls {

// What cannot be read stays empty.
Certificate describe(X509* certificate);
Certificate describe(const CRYPTO_BUFFER* der);

}  // namespace warren::tls
