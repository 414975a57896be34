#include "base/tls_names.h"

#include "support/catch.h"
#include "warren/result.h"

namespace warren::base {
namespace {

std::string nameOf(int code) { return Error(Origin::tls, code, Step::none).name(); }

TEST_CASE("errors of TLS have the names by which people look them up") {
  CHECK(nameOf(kTlsVerify + 10) == "CERT_HAS_EXPIRED");
  CHECK(nameOf(kTlsVerify + 18) == "DEPTH_ZERO_SELF_SIGNED_CERT");
  CHECK(nameOf(kTlsVerify + 20) == "UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
  CHECK(nameOf(kTlsVerify + 21) == "UNABLE_TO_VERIFY_LEAF_SIGNATURE");
  CHECK(nameOf(kTlsVerify + 23) == "CERT_REVOKED");
  CHECK(nameOf(kTlsVerify + 62) == "ERR_TLS_CERT_ALTNAME_INVALID");
  CHECK(nameOf(kTlsVerify + 64) == "ERR_TLS_CERT_ALTNAME_INVALID");
  CHECK(nameOf(kTlsAlert + 48) == "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA");
  CHECK(nameOf(kTlsAlert + 0) == "ERR_SSL_SSLV3_ALERT_CLOSE_NOTIFY");
  CHECK(nameOf(kTlsReason + 156) == "ERR_SSL_HTTP_REQUEST");
}

TEST_CASE("codes of TLS without a name are shown as numbers") {
  for (const int code :
       {-1, 0, 42, kTlsVerify, kTlsVerify + 999, kTlsAlert + 255, kTlsReason, kTlsForeign + 100}) {
    CHECK(nameOf(code) == "TLS_" + std::to_string(code));
  }
}

}  // namespace
}  // namespace warren::base
