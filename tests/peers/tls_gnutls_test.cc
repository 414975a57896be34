// warren's TLS with GnuTLS's tools at the other end, each a process of its own.
#include <optional>
#include <string>
#include <vector>

#include "support/examples.h"
#include "tls_peers.h"

namespace warren::test {
namespace {

std::string priority(TlsVersion version) {
  return version == TlsVersion::tls12 ? "NORMAL:-VERS-ALL:+VERS-TLS1.2"
                                      : "NORMAL:-VERS-ALL:+VERS-TLS1.3";
}
std::string name(TlsVersion version) { return version == TlsVersion::tls12 ? "TLS1.2" : "TLS1.3"; }

class Client : public Child {
 public:
  Client(const std::string& program, uint16_t port, TlsVersion version,
         std::vector<std::string> more)
      : Child(commandOf(program, port, version, std::move(more))) {}

  bool echoes(const std::string& line) {
    write(line + "\n");
    return output().lineWith(line) == line;
  }

 private:
  static std::vector<std::string> commandOf(const std::string& program, uint16_t port,
                                            TlsVersion version, std::vector<std::string> more) {
    more.insert(more.begin(), {program, "127.0.0.1", "--port", std::to_string(port), "--priority",
                               priority(version), "--inline-commands"});
    return more;
  }
};

// It sends back what it gets.
class GnutlsServer {
 public:
  GnutlsServer(const std::string& program, const Files& files, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {program, "--echo", "--port", std::to_string(port()),
                               "--x509certfile", files.path("cert.pem"), "--x509keyfile",
                               files.path("key.pem"), "--x509cafile", files.path("ca.pem")});
    child_.emplace(std::move(more));
    if (child_->errors().lineWith("IPv4").empty()) throw std::runtime_error("no gnutls-serv");
  }
  uint16_t port() const { return reserved_.port(); }

 private:
  RawSocket reserved_ = RawSocket::reserveTcp();
  std::optional<Child> child_;
};

}  // namespace

TEST_CASE("gnutls-cli talks to echo, changes its keys and comes again", "[peers][tls]") {
  const std::string program = peerPath("gnutls-cli");
  if (program.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  Server echo("echo", echoOptions(files));
  Client client(program, echo.port(), version, {"--x509cafile", files.path("ca.pem")});
  REQUIRE(contains(client.output().lineWith("- Description: "), name(version)));
  REQUIRE(client.echoes("hello"));
  if (version == TlsVersion::tls13) {
    client.write("^rekey^\n");
    REQUIRE(client.output().lineWith("Rekey") == "- Rekey was completed");
    REQUIRE(client.echoes("with other keys"));
  }
  client.write("^resume^\n");
  REQUIRE(client.output().lineWith("resumed") == "*** This is a resumed session");
  REQUIRE(client.echoes("again"));
  client.endInput();
  REQUIRE(client.wait() == 0);
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("gnutls-cli may not renegotiate", "[peers][tls]") {
  const std::string program = peerPath("gnutls-cli");
  if (program.empty()) return;
  const Files files;
  Server echo("echo", echoOptions(files));
  Client client(program, echo.port(), TlsVersion::tls12,
                {"--x509cafile", files.path("ca.pem"), "--rehandshake"});
  REQUIRE(client.wait() == 1);
  REQUIRE(contains(client.output().rest(), "No renegotiation is allowed"));
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("gnutls-cli trusts echo only if it is told to", "[peers][tls]") {
  const std::string program = peerPath("gnutls-cli");
  if (program.empty()) return;
  const Files files;
  Server echo("echo", echoOptions(files));
  Client doubter(program, echo.port(), TlsVersion::tls13,
                 {"--x509cafile", files.path("stranger.pem")});
  REQUIRE(doubter.wait() == 1);
  REQUIRE(contains(doubter.output().rest(), "NOT trusted"));
  Client misled(program, echo.port(), TlsVersion::tls13,
                {"--x509cafile", files.path("ca.pem"), "--verify-hostname", "elsewhere.example"});
  REQUIRE(misled.wait() == 1);
  REQUIRE(contains(misled.output().rest(), "NOT trusted"));
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("echo insists on a certificate of gnutls-cli", "[peers][tls]") {
  const std::string program = peerPath("gnutls-cli");
  if (program.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  Server echo("echo", echoOptions(files, {"--ca", files.path("ca.pem"), "--request-cert"}));
  Client known(program, echo.port(), version,
               {"--x509cafile", files.path("ca.pem"), "--x509certfile", files.path("cert.pem"),
                "--x509keyfile", files.path("key.pem")});
  REQUIRE(known.echoes("hello"));
  known.endInput();
  REQUIRE(known.wait() == 0);
  Client unknown(program, echo.port(), version, {"--x509cafile", files.path("ca.pem")});
  REQUIRE(unknown.wait() == 1);
  REQUIRE(contains(unknown.errors().rest(), "fatal alert"));
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("gnutls-serv talks to warren, and resumes its session", "[peers][tls]") {
  const std::string program = peerPath("gnutls-serv");
  if (program.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  const GnutlsServer server(program, files, {"--disable-client-cert"});
  TlsOptions tls = only(files.clientOptions(), version);
  const Visit first = visit(server.port(), tls, "hello\n", "hello\n");
  REQUIRE_FALSE(first.error);
  REQUIRE(first.authorized);
  REQUIRE(first.version == version);
  REQUIRE_FALSE(first.resumed);
  tls.session = first.session;
  const Visit second = visit(server.port(), tls, "again\n", "again\n");
  REQUIRE_FALSE(second.error);
  REQUIRE(second.resumed);
}

TEST_CASE("gnutls-serv is trusted only if client is told to", "[peers][tls][examples]") {
  const std::string program = peerPath("gnutls-serv");
  if (program.empty()) return;
  const Files files;
  const GnutlsServer server(program, files);
  Child doubter({example("client"), "127.0.0.1", std::to_string(server.port()), "hello", "--tls",
                 "--ca", files.path("stranger.pem")});
  REQUIRE(doubter.wait() == 1);
  REQUIRE(contains(doubter.errors().rest(), "UNABLE_TO_VERIFY_LEAF_SIGNATURE"));
  REQUIRE(doubter.output().rest().empty());
}

TEST_CASE("gnutls-serv insists on a certificate of warren", "[peers][tls]") {
  const std::string program = peerPath("gnutls-serv");
  if (program.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  const GnutlsServer server(program, files, {"--require-client-cert", "--verify-client-cert"});
  const Visit known = visit(server.port(), only(files.options(), version), "hello\n", "hello\n");
  REQUIRE(known.answer == "hello\n");
  REQUIRE_FALSE(known.error);
  const Visit unknown =
      visit(server.port(), only(files.clientOptions(), version), "hello\n", "hello\n");
  REQUIRE(unknown.answer.empty());
  REQUIRE(unknown.error.origin() == Origin::tls);
}

}  // namespace warren::test
