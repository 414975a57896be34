// warren's TLS with nginx on the other end of the wire: its module `stream` passes bytes on, and adds
// TLS or takes it off.
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/examples.h"
#include "tls_peers.h"

namespace warren::test {
namespace {

// An nginx in front of a server on 127.0.0.1, as one process that can be killed.
class Nginx {
 public:
  // `listening` stands behind the address, `more` are directives.
  Nginx(const std::string& program, uint16_t server, const Files& files,
        const std::string& listening, const std::string& more) {
    files.write("nginx.conf",
                "daemon off;\nmaster_process off;\nerror_log stderr notice;\npid nginx.pid;\n" +
                    module() + "events {}\nstream {\nserver {\nlisten " + at(port()) + listening +
                    ";\nproxy_pass " + at(server) + ";\n" + more + "}\n}\n");
    child_.emplace(std::vector<std::string>{program, "-e", "stderr", "-p", files.path(""), "-c",
                                            "nginx.conf"});
    // It listens before it says how it will wait.
    if (log().lineWith("event method").empty()) throw std::runtime_error("nginx has not started");
  }
  uint16_t port() const { return reserved_.port(); }
  Said& log() { return child_->errors(); }

 private:
  // The module is in a file of its own, or else built in.
  static std::string module() {
    for (const std::string folder : {"/usr/lib", "/usr/lib64"}) {
      const std::string path = folder + "/nginx/modules/ngx_stream_module.so";
      if (std::filesystem::exists(path)) return "load_module " + path + ";\n";
    }
    return {};
  }
  RawSocket reserved_ = RawSocket::reserveTcp();
  std::optional<Child> child_;
};

std::string protocol(TlsVersion version) {
  return version == TlsVersion::tls12 ? "TLSv1.2;\n" : "TLSv1.3;\n";
}

// What nginx shows and believes, as server ("") and as client ("proxy_").
std::string identity(const std::string& side, const Files& files) {
  return side + "ssl_certificate " + files.path("cert.pem") + ";\n" + side +
         "ssl_certificate_key " + files.path("key.pem") + ";\n";
}

}  // namespace

TEST_CASE("nginx takes off the TLS of warren's client", "[peers][tls]") {
  const std::string program = peerPath("nginx");
  if (program.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  Server echo("echo", {"--host", "127.0.0.1"});
  const Nginx nginx(program, echo.port(), files, " ssl",
                    identity("", files) + "ssl_protocols " + protocol(version) +
                        "ssl_verify_client on;\nssl_client_certificate " + files.path("ca.pem") +
                        ";\n");
  TlsOptions tls = files.options();
  tls.tolerateTruncation = true;  // it does not answer a close_notify, it closes
  const Visit first = visit(nginx.port(), tls, "hello", "hello");
  REQUIRE_FALSE(first.error);
  REQUIRE(first.authorized);
  REQUIRE(first.version == version);
  tls.session = first.session;
  const Visit second = visit(nginx.port(), tls, "again", "again");
  REQUIRE_FALSE(second.error);
  REQUIRE(second.resumed);

  const Visit unknown = visit(nginx.port(), files.clientOptions(), "hello", "hello");
  REQUIRE(unknown.answer.empty());
  tls.ca = file(files.path("stranger.pem"));
  tls.session.clear();
  const Visit doubter = visit(nginx.port(), tls, "hello", "hello");
  REQUIRE(doubter.error.origin() == Origin::tls);
  REQUIRE(doubter.answer.empty());
  REQUIRE(echo.stop() == 0);
}

TEST_CASE("nginx puts TLS on for warren's server, and verifies it", "[peers][tls]") {
  const std::string program = peerPath("nginx");
  if (program.empty()) return;
  const TlsVersion version = GENERATE(TlsVersion::tls12, TlsVersion::tls13);
  const Files files;
  Server echo("echo", echoOptions(files, {"--ca", files.path("ca.pem"), "--request-cert"}));
  const auto directives = [&](const std::string& authority, const std::string& host) {
    return identity("proxy_", files) + "proxy_ssl on;\nproxy_ssl_verify on;\n" +
           "proxy_ssl_trusted_certificate " + files.path(authority) + ";\nproxy_ssl_name " + host +
           ";\nproxy_ssl_server_name on;\nproxy_ssl_protocols " + protocol(version);
  };
  const Nginx nginx(program, echo.port(), files, "", directives("ca.pem", "localhost"));
  for (const std::string visitor : {"first", "second, with the session of the first"}) {
    RawSocket client = RawSocket::connectTcp(nginx.port());
    client.sendAll(visitor);
    REQUIRE(client.readExactly(visitor.size()) == visitor);
  }
  const auto [authority, host] = GENERATE(table<std::string, std::string>(
      {{"stranger.pem", "localhost"}, {"ca.pem", "elsewhere.example"}}));
  Nginx doubter(program, echo.port(), files, "", directives(authority, host));
  RawSocket client = RawSocket::connectTcp(doubter.port());
  client.sendAll("hello");
  REQUIRE(doubter.log().lineWith("upstream SSL certificate") != "");
  REQUIRE(echo.stop() == 0);
}

}  // namespace warren::test
