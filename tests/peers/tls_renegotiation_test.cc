// Renegotiation, which OpenSSL's tools ask for when they are told to.
#include <string>

#include "peers.h"
#include "support/catch.h"
#include "support/certificates.h"
#include "support/child.h"
#include "support/net.h"
#include "tls/both.h"
#include "warren/warren.h"

namespace warren::test {

TEST_CASE("a client that renegotiates is refused, and others are served", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  Both both;  // its client is one of the others
  both.bothOpen();
  Child child({openssl, "s_client", "-tls1_2", "-connect",
               "127.0.0.1:" + std::to_string(both.listener.port())});
  child.write("before\n");
  both.until("server data before");
  child.write("R\n");
  both.until("server close");
  REQUIRE(both.events.error("server").name() == "ERR_SSL_NO_RENEGOTIATION");
  REQUIRE(both.client.send("still here"));
  both.until("server data still here");
}

}  // namespace warren::test
