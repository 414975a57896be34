#include "tls/failure.h"

#include <string>

#include "base/tls_names.h"
#include "support/catch.h"

namespace warren::tls {
namespace {

TEST_CASE("the names of reasons are those of the BoringSSL that is linked") {
  int known = 0;
  for (int reason = 1; reason < 1200; ++reason) {
    const std::string ours = base::tlsName(base::kTlsReason + reason);
    const char* const theirs =
        ERR_reason_error_string(static_cast<uint32_t>(ERR_PACK(ERR_LIB_SSL, reason)));
    // Later versions drop some and add some; none changes its meaning.
    const bool named = ours.starts_with("ERR_SSL_");
    if (theirs == nullptr || !named) continue;
    CHECK(ours == std::string("ERR_SSL_") + theirs);
    ++known;
  }
  CHECK(known > 200);
}

TEST_CASE("an error of another library has its words but no name") {
  const Error error = errorOf(static_cast<uint32_t>(ERR_PACK(ERR_LIB_RSA, 105)), Step::handshake);
  CHECK(error.origin() == Origin::tls);
  CHECK(error.name() == "TLS_" + std::to_string(base::kTlsForeign + 105));
}

}  // namespace
}  // namespace warren::tls
