// warren's TLS with OpenSSL's tools at the other end, each a process of its own.
#include <fstream>
#include <string>
#include <vector>

#include "peers.h"
#include "support/catch.h"
#include "support/certificates.h"
#include "support/child.h"
#include "support/examples.h"
#include "support/net.h"

namespace warren::test {
namespace {

// The test authority and a certificate of it, as files.
class Files {
 public:
  Files() {
    write("ca.pem", testAuthority().cert);
    write("key.pem", testLeaf().key);
    write("cert.pem", testLeaf().cert);
  }
  std::string path(const std::string& name) const { return dir_.path(name); }

 private:
  void write(const std::string& name, const std::string& content) {
    std::ofstream(dir_.path(name)) << content;
  }
  TempDir dir_;
};

std::vector<std::string> echoOptions(const Files& files, std::vector<std::string> more = {}) {
  std::vector<std::string> options{"--host", "127.0.0.1",          "--cert", files.path("cert.pem"),
                                   "--key",  files.path("key.pem")};
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

std::string at(uint16_t port) { return "127.0.0.1:" + std::to_string(port); }

}  // namespace

TEST_CASE("openssl s_client talks to echo, in both versions", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const auto [option, shown] =
      GENERATE(table<std::string, std::string>({{"-tls1_2", "TLSv1.2"}, {"-tls1_3", "TLSv1.3"}}));
  INFO(option);
  const Files files;
  Server echo("echo", echoOptions(files));
  Child client({openssl, "s_client", "-connect", at(echo.port()), "-CAfile", files.path("ca.pem"),
                "-verify_return_error", "-verify_ip", "127.0.0.1", "-brief", option});
  client.write("hello\n");
  REQUIRE(client.output().line() == "hello");
  client.write("Q\n");  // its word for the end
  REQUIRE(client.wait() == 0);
  const std::string told = client.errors().rest();
  INFO(told);
  REQUIRE(told.find(shown) != std::string::npos);
  REQUIRE(told.find("Verification: OK") != std::string::npos);
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("a session of openssl is resumed by echo", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const Files files;
  Server echo("echo", echoOptions(files));
  const auto visit = [&](const std::string& how) {
    Child client({openssl, "s_client", "-connect", at(echo.port()), "-tls1_2", how,
                  files.path("session.pem")});
    client.write("x\n");
    std::string all;
    for (std::string line; line != "x"; all += line + "\n") line = client.output().line();
    client.write("Q\n");
    client.wait();
    return all;
  };
  REQUIRE(visit("-sess_out").find("New, TLSv1.2") != std::string::npos);
  REQUIRE(visit("-sess_in").find("Reused, TLSv1.2") != std::string::npos);
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("echo asks openssl for a certificate, and insists", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const Files files;
  Server echo("echo", echoOptions(files, {"--ca", files.path("ca.pem"), "--request-cert"}));
  const auto visit = [&](std::vector<std::string> more) {
    std::vector<std::string> command{openssl, "s_client", "-connect", at(echo.port()), "-quiet"};
    command.insert(command.end(), more.begin(), more.end());
    Child client(command);
    client.write("hello\n");
    return client.output().line();
  };
  REQUIRE(visit({"-cert", files.path("cert.pem"), "-key", files.path("key.pem")}) == "hello");
  REQUIRE(visit({}).empty());
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("client talks to openssl s_server, and trusts only whom it is told to", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const std::string version = GENERATE("-tls1_2", "-tls1_3");
  INFO(version);
  const Files files;
  Child server({openssl, "s_server", "-accept", "127.0.0.1:0", "-cert", files.path("cert.pem"),
                "-key", files.path("key.pem"), "-rev", version});
  std::string line;
  while (!line.starts_with("ACCEPT ")) line = server.output().line();
  const std::string port = line.substr(line.rfind(':') + 1);

  Child client(
      {example("client"), "127.0.0.1", port, "abc", "--tls", "--ca", files.path("ca.pem")});
  REQUIRE(client.output().line() == "cba");

  Child doubter({example("client"), "127.0.0.1", port, "abc", "--tls"});
  REQUIRE(doubter.wait() == 1);
  REQUIRE(doubter.errors().rest().find("UNABLE_TO_VERIFY_LEAF_SIGNATURE") != std::string::npos);
}

}  // namespace warren::test
