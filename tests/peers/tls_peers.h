// What tests of TLS with programs of others share: certificates as files, ports, a client in warren.
#pragma once

#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "peers.h"
#include "support/certificates.h"
#include "support/child.h"
#include "support/net.h"
#include "warren/tls_facts.h"
#include "warren/warren.h"

namespace warren::test {

// The test authority, a certificate of it for localhost, and an authority that has signed nothing.
class Files {
 public:
  explicit Files(KeyType type = KeyType::p256) {
    write("ca.pem", testAuthority().cert);
    write("key.pem", testLeaf(type).key);
    write("cert.pem", testLeaf(type).cert);
    write("stranger.pem", selfSigned({.subject = "stranger", .authority = true}).cert);
  }
  std::string path(const std::string& name) const { return dir_.path(name); }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path(name)) << content;
  }
  // For a warren that serves, or dials and shows itself; both verify.
  TlsOptions options() const {
    TlsOptions tls;
    tls.key = file(path("key.pem"));
    tls.cert = file(path("cert.pem"));
    tls.ca = file(path("ca.pem"));
    return tls;
  }
  TlsOptions clientOptions() const {
    TlsOptions tls;
    tls.ca = file(path("ca.pem"));
    return tls;
  }

 private:
  TempDir dir_;
};

inline std::vector<std::string> echoOptions(const Files& files,
                                            std::vector<std::string> more = {}) {
  std::vector<std::string> options{"--host", "127.0.0.1",          "--cert", files.path("cert.pem"),
                                   "--key",  files.path("key.pem")};
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

inline std::string at(uint16_t port) { return "127.0.0.1:" + std::to_string(port); }

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

inline TlsOptions only(TlsOptions tls, TlsVersion version) {
  tls.minVersion = tls.maxVersion = version;
  return tls;
}

// What a client written on warren has seen: it connects, sends a text, and waits for an answer that
// ends as it should, or for the end.
struct Visit {
  std::string answer;
  Error error;
  bool authorized = false;
  bool resumed = false;
  TlsVersion version = TlsVersion::unknown;
  std::string session;
};

inline Visit visit(uint16_t port, const TlsOptions& tls, std::string_view text,
                   std::string_view awaited) {
  Visit seen;
  bool done = false;
  const auto gone = [&](Socket<>, const Error& error) {
    seen.error = error;
    done = true;
  };
  const auto read = [&](Socket<> socket, Bytes bytes) {
    seen.answer += asText(bytes);
    if (!seen.answer.ends_with(awaited)) return;
    seen.authorized = socket.tls().authorized();
    seen.resumed = socket.tls().resumed();
    seen.version = socket.tls().version();
    seen.session = socket.tls().session();
    socket.end();
  };
  Reactor reactor;
  Socket<> client = reactor
                        .connect<>({.hostname = "127.0.0.1",
                                    .port = port,
                                    .socket = {.data = read, .close = gone, .connectError = gone},
                                    .tls = tls})
                        .value();
  REQUIRE(client.send(text));
  runUntil(reactor, [&] { return done; });
  return seen;
}

}  // namespace warren::test
