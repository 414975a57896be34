// curl asks the HTTP example, in TLS.
#include <string>
#include <vector>

#include "support/examples.h"
#include "tls_peers.h"

namespace warren::test {
namespace {

std::vector<std::string> curl(const std::string& program, std::vector<std::string> more) {
  more.insert(more.begin(), {program, "--silent", "--show-error", "--noproxy", "*"});
  return more;
}

}  // namespace

TEST_CASE("curl gets an answer of http over TLS, in both versions", "[peers][tls][examples]") {
  const std::string program = peerPath("curl");
  if (program.empty()) return;
  const auto [option, cipher] = GENERATE(
      table<std::string, std::string>({{"1.2", "TLS_ECDHE_ECDSA_WITH_AES"}, {"1.3", "TLS_AES"}}));
  INFO(option);
  const Files files;
  Server http("http", echoOptions(files));
  const std::string url = "https://" + at(http.port()) + "/a/path?x";
  Child visitor(curl(program, {"--cacert", files.path("ca.pem"), "--tlsv" + option, "--tls-max",
                               option, "--include", url}));
  REQUIRE(visitor.output().line() == "HTTP/1.0 200 OK\r");
  REQUIRE(visitor.output().lineWith("/a/path").starts_with("/a/path?x over " + cipher));
  REQUIRE(visitor.wait() == 0);

  // It must see the end of the answer by its length, and send a body to one that does not want it.
  Child poster(curl(program, {"--cacert", files.path("ca.pem"), "--data", std::string(100'000, 'x'),
                              "--output", "/dev/null", "--write-out", "%{http_code}", url}));
  REQUIRE(poster.output().rest() == "501");
  REQUIRE(http.stop() == 0);
}

TEST_CASE("curl trusts http only if it is told to", "[peers][tls][examples]") {
  const std::string program = peerPath("curl");
  if (program.empty()) return;
  const Files files;
  Server http("http", echoOptions(files));
  const std::string url = "https://" + at(http.port()) + "/";
  Child doubter(curl(program, {"--cacert", files.path("stranger.pem"), url}));
  REQUIRE(doubter.wait() == 60);  // CURLE_PEER_FAILED_VERIFICATION
  Child misled(curl(program, {"--cacert", files.path("ca.pem"), "--resolve",
                              "elsewhere.test:" + std::to_string(http.port()) + ":127.0.0.1",
                              "https://elsewhere.test:" + std::to_string(http.port()) + "/"}));
  REQUIRE(misled.wait() == 60);
  REQUIRE(http.stop() == 0);
}

}  // namespace warren::test
