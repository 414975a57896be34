// warren's TLS with OpenSSL's tools at the other end, each a process of its own.
#include <stdexcept>
#include <string>
#include <vector>

#include "support/examples.h"
#include "tls_peers.h"

namespace warren::test {
namespace {

// "-tls1_2", and how openssl's reports call it.
std::string option(TlsVersion version) {
  return version == TlsVersion::tls12 ? "-tls1_2" : "-tls1_3";
}
std::string name(TlsVersion version) {
  return version == TlsVersion::tls12 ? "TLSv1.2" : "TLSv1.3";
}

// A server that sends lines back reversed.
class Reverser : public Child {
 public:
  Reverser(const std::string& openssl, const Files& files, std::vector<std::string> more = {})
      : Child(commandOf(openssl, files, std::move(more))) {
    const std::string line = output().lineWith("ACCEPT ");
    if (line.empty()) throw std::runtime_error(errors().rest());
    port_ = static_cast<uint16_t>(std::stoi(line.substr(line.rfind(':') + 1)));
  }
  uint16_t port() const { return port_; }

 private:
  static std::vector<std::string> commandOf(const std::string& openssl, const Files& files,
                                            std::vector<std::string> more) {
    more.insert(more.begin(), {openssl, "s_server", "-accept", "127.0.0.1:0", "-rev", "-cert",
                               files.path("cert.pem"), "-key", files.path("key.pem")});
    return more;
  }
  uint16_t port_ = 0;
};

}  // namespace

TEST_CASE("openssl s_client talks to echo, in both versions", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  Server echo("echo", echoOptions(files));
  Child client({openssl, "s_client", "-connect", at(echo.port()), "-CAfile", files.path("ca.pem"),
                "-verify_return_error", "-verify_ip", "127.0.0.1", "-brief", option(version)});
  client.write("hello\n");
  REQUIRE(client.output().line() == "hello");
  client.write("Q\n");  // its word for the end
  REQUIRE(client.wait() == 0);
  const std::string told = client.errors().rest();
  INFO(told);
  REQUIRE(contains(told, name(version)));
  REQUIRE(contains(told, "Verification: OK"));
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("a certificate made on the spot serves echo and its clients", "[peers][tls][examples]") {
  if (peerPath("openssl").empty()) return;
  const TempDir dir;
  Child made({"examples/certificate", dir.path("demo")});
  REQUIRE(made.wait() == 0);
  Server echo("echo", {"--host", "localhost", "--cert", dir.path("demo/cert.pem"), "--key",
                       dir.path("demo/key.pem")});
  const std::string host = GENERATE("localhost", "127.0.0.1");
  Child client({example("client"), host, std::to_string(echo.port()), "hello", "--tls", "--ca",
                dir.path("demo/ca.pem")});
  REQUIRE(client.output().line() == "hello");
  REQUIRE(client.wait() == 0);
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("a session of openssl is resumed by echo, in both versions", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  Server echo("echo", echoOptions(files));
  const auto visit = [&](const std::string& how) {
    Child client({openssl, "s_client", "-connect", at(echo.port()), option(version), how,
                  files.path("session.pem")});
    client.write("hello\n");
    const std::string reported = client.output().lineWith(", " + name(version) + ", Cipher");
    REQUIRE(client.output().lineWith("hello") == "hello");
    client.write("Q\n");
    client.wait();
    return reported.substr(0, reported.find(','));
  };
  REQUIRE(visit("-sess_out") == "New");
  REQUIRE(visit("-sess_in") == "Reused");
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("openssl may change its keys in the middle, and ask for new ones", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const Files files;
  Server echo("echo", echoOptions(files));
  Child client({openssl, "s_client", "-connect", at(echo.port()), "-brief", "-tls1_3"});
  for (const std::string command : {"k\n", "K\n", "K\n"}) {
    client.write(command);
    REQUIRE(client.errors().lineWith("KEYUPDATE") == "KEYUPDATE");
    client.write("hello\n");
    REQUIRE(client.output().line() == "hello");
  }
  client.write("Q\n");
  REQUIRE(client.wait() == 0);
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
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  const Reverser server(openssl, files, {option(version)});
  const auto command = [&](std::vector<std::string> more) {
    more.insert(more.begin(),
                {example("client"), "127.0.0.1", std::to_string(server.port()), "abc", "--tls"});
    return more;
  };
  Child client(command({"--ca", files.path("ca.pem")}));
  REQUIRE(client.output().line() == "cba");
  REQUIRE(client.wait() == 0);

  Child doubter(command({}));
  REQUIRE(doubter.wait() == 1);
  REQUIRE(contains(doubter.errors().rest(), "UNABLE_TO_VERIFY_LEAF_SIGNATURE"));

  Child misled(command({"--ca", files.path("ca.pem"), "--server-name", "elsewhere.example"}));
  REQUIRE(misled.wait() == 1);
  REQUIRE(contains(misled.errors().rest(), "ERR_TLS_CERT_ALTNAME_INVALID"));
}

TEST_CASE("openssl s_server resumes a session of warren, in both versions", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  const Reverser server(openssl, files);
  TlsOptions tls = only(files.clientOptions(), version);
  const Visit first = visit(server.port(), tls, "abc\n", "cba\n");
  REQUIRE_FALSE(first.error);
  REQUIRE_FALSE(first.resumed);
  tls.session = first.session;
  const Visit second = visit(server.port(), tls, "abc\n", "cba\n");
  REQUIRE_FALSE(second.error);
  REQUIRE(second.resumed);
  REQUIRE(second.authorized);
  REQUIRE(second.version == version);
}

TEST_CASE("openssl s_server insists on a certificate of its client", "[peers][tls]") {
  const std::string openssl = peerPath("openssl");
  if (openssl.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  const Reverser server(openssl, files,
                        {"-Verify", "1", "-verify_return_error", "-CAfile", files.path("ca.pem")});
  const Visit known = visit(server.port(), only(files.options(), version), "abc\n", "cba\n");
  REQUIRE(known.answer == "cba\n");
  REQUIRE_FALSE(known.error);
  const Visit unknown =
      visit(server.port(), only(files.clientOptions(), version), "abc\n", "cba\n");
  REQUIRE(unknown.answer.empty());
  REQUIRE(unknown.error.origin() == Origin::tls);  // its alert
}

}  // namespace warren::test
