// Which policy answers whom, before and after a reload; and tickets that are good at other servers.
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"
#include "support/net.h"
#include "tls/both.h"
#include "warren/warren.h"

namespace warren {
namespace {

using test::clientTls;
using test::runUntil;
using test::serverTls;

SocketHandlers<> greeting() {
  return {.open = [](Socket<> socket) { socket.send("welcome"); }, .data = [](Socket<>, Bytes) {}};
}

Listener<> greetingAt(Reactor& reactor, TlsOptions tls) {
  return reactor
      .listen<>({.hostname = "127.0.0.1", .port = 0, .socket = greeting(), .tls = std::move(tls)})
      .value();
}

// One visit of a client: what it agreed on, or why it failed.
struct Visit {
  std::string protocol;
  std::string error;
  std::string session;  // to resume with
  std::string subject;  // of the server's certificate
  bool resumed = false;

  bool done() const { return !session.empty() || !error.empty(); }
};

void visit(Reactor& reactor, int port, TlsOptions tls, Visit& result) {
  const auto failed = [&](Socket<>, const Error& error) {
    if (!result.done()) result.error = error.name();
  };
  REQUIRE(reactor.connect<>({.hostname = "127.0.0.1",
                             .port = port,
                             .socket = {.data =
                                            [&](Socket<> socket, Bytes) {
                                              result.protocol = socket.tls().alpnProtocol();
                                              result.resumed = socket.tls().resumed();
                                              result.session = socket.tls().session();
                                              result.subject =
                                                  socket.tls().peerCertificates().at(0).subject;
                                              socket.close();
                                            },
                                        .close = failed,
                                        .connectError = failed},
                             .tls = std::move(tls)}));
}

// The policy of one listener: its fallback and one exact name are strict, a wildcard is not. `round` is
// in the protocols, so that it shows which policy has answered.
TlsOptions answering(const std::string& who, bool strict, const std::string& round) {
  TlsOptions options = serverTls();
  options.alpn = {who + round};
  options.requestCert = strict;
  if (strict) options.ca = test::testAuthority().cert;
  return options;
}

}  // namespace

TEST_CASE("tls: each name has its own protocols and its own demand, before and after a reload",
          "[tls]") {
  Reactor reactor;
  const Listener<> listener = greetingAt(reactor, answering("fallback", true, "1"));
  const auto names = [&](const std::string& round) {
    REQUIRE(listener.addServerName("exact.example.com", answering("exact", true, round)));
    REQUIRE(listener.addServerName("*.example.com", answering("wildcard", false, round)));
  };
  struct Name {
    const char* asked;
    const char* answers;
    bool strict;
  };
  const std::array<Name, 4> asked{{{"", "fallback", true},
                                   {"unknown.test", "fallback", true},
                                   {"exact.example.com", "exact", true},
                                   {"other.example.com", "wildcard", false}}};
  names("1");
  for (const std::string round : {"1", "2"}) {
    if (round == "2") {
      REQUIRE(listener.reloadTls(answering("fallback", true, round)));
      names(round);
    }
    for (const Name& name : asked) {
      for (const bool shows : {true, false}) {
        INFO(name.asked << ", round " << round << (shows ? ", with" : ", without")
                        << " a certificate");
        TlsOptions tls = shows ? serverTls() : TlsOptions();
        tls.serverName = name.asked;
        tls.rejectUnauthorized = false;
        for (const char* const who : {"fallback", "exact", "wildcard"}) {
          tls.alpn.push_back(std::string(who) + "1");
          tls.alpn.push_back(std::string(who) + "2");
        }
        Visit result;
        visit(reactor, listener.port(), tls, result);
        runUntil(reactor, [&] { return result.done(); });
        if (name.strict && !shows) {
          CHECK(result.error == "ERR_SSL_TLSV1_ALERT_CERTIFICATE_REQUIRED");
        } else {
          CHECK(result.protocol == name.answers + round);
        }
      }
    }
  }
}

TEST_CASE(
    "tls: with cacheSessions a client that connects again resumes, as itself and with the same "
    "trust",
    "[tls]") {
  Reactor reactor;
  const Listener<> listener = greetingAt(reactor, serverTls());
  const auto resumes = [&](TlsOptions tls, bool caches = true) {
    tls.serverName = "again.example.com";  // of no other test
    tls.cacheSessions = caches;
    Visit result;
    visit(reactor, listener.port(), std::move(tls), result);
    runUntil(reactor, [&] { return result.done(); });
    CHECK(result.error == "");
    return result.resumed;
  };
  CHECK_FALSE(resumes(clientTls()));
  CHECK(resumes(clientTls()));
  CHECK_FALSE(resumes(clientTls(), false));
  TlsOptions trusting = clientTls();
  trusting.rejectUnauthorized = false;
  CHECK_FALSE(resumes(trusting));
  TlsOptions showing = clientTls();
  showing.key = test::testLeaf().key;
  showing.cert = test::testLeaf().cert;
  CHECK_FALSE(resumes(showing));
  CHECK(resumes(showing));
  CHECK(resumes(clientTls()));
  TlsOptions old = clientTls();
  old.maxVersion = TlsVersion::tls12;
  CHECK_FALSE(resumes(old));
  CHECK(resumes(old));
  TlsOptions narrow = old;
  narrow.ciphers =
      "ECDHE-ECDSA-CHACHA20-POLY1305";  // not the one of the session, and none would be offered
  CHECK_FALSE(resumes(narrow));
}

TEST_CASE("tls: a server name with a dot at its end demands what it demands without", "[tls]") {
  Reactor reactor;
  const Listener<> listener = greetingAt(reactor, serverTls());
  REQUIRE(listener.addServerName("Admin.example.com.", answering("admin", true, "1")));
  TlsOptions tls = clientTls();
  tls.serverName = "admin.example.com";
  Visit result;
  visit(reactor, listener.port(), tls, result);
  runUntil(reactor, [&] { return result.done(); });
  CHECK(result.error == "ERR_SSL_TLSV1_ALERT_CERTIFICATE_REQUIRED");
  CHECK(listener.removeServerName("admin.example.com"));
}

TEST_CASE("tls: a server name that is added again has the new certificate, and is removed once",
          "[tls]") {
  Reactor reactor;
  const Listener<> listener = greetingAt(reactor, serverTls());
  const auto add = [&](const char* name, const char* subject) {
    const test::Identity identity =
        test::issue(test::testAuthority(), {.subject = subject, .names = {"DNS:a.example.com"}});
    REQUIRE(listener.addServerName(name, {.key = identity.key, .cert = identity.cert}));
  };
  const auto subjectSeen = [&] {
    TlsOptions tls = clientTls();
    tls.serverName = "a.example.com";
    Visit result;
    visit(reactor, listener.port(), std::move(tls), result);
    runUntil(reactor, [&] { return result.done(); });
    CHECK(result.error == "");
    return result.subject;
  };
  const std::string fallback = subjectSeen();
  add("a.example.com", "first");
  CHECK(subjectSeen() == "CN=first");
  add("A.example.com.", "second");  // the same name
  CHECK(subjectSeen() == "CN=second");
  CHECK(listener.removeServerName("a.example.com"));
  CHECK(subjectSeen() == fallback);
  CHECK_FALSE(listener.removeServerName("a.example.com"));
}

TEST_CASE("tls: server names that no client can ask for are refused", "[tls]") {
  Reactor reactor;
  const Listener<> listener = greetingAt(reactor, serverTls());
  for (const std::string& name :
       {std::string(), std::string("."), std::string("*"), std::string("*."),
        std::string("a*.example.com"), std::string("*.*.example.com"), std::string("a\0b", 3),
        std::string(256, 'a')}) {
    INFO(name);
    const Result<void> added = listener.addServerName(name, serverTls());
    REQUIRE_FALSE(added);
    CHECK(added.error().step() == Step::options);
  }
  CHECK(listener.addServerName(std::string(255, 'a') + ".", serverTls()));
}

TEST_CASE("tls: a session is resumed by every reactor that has its ticket key, through rotations",
          "[tls]") {
  constexpr size_t kReactors = 4;
  constexpr int kVisits = 40;
  const auto sealedWith = [](const std::vector<char>& letters) {
    TlsOptions options = serverTls();
    for (const char letter : letters) options.ticketKeys.push_back(std::string(48, letter));
    return options;
  };
  std::array<Reactor, kReactors> reactors;
  std::array<Listener<>, kReactors> listeners;
  for (size_t index = 0; index < kReactors; ++index) {
    listeners[index] = greetingAt(reactors[index], sealedWith({'a'}));
  }
  Reactor clients;
  std::string session;
  for (int count = 0; count < kVisits; ++count) {
    // One after the other gets the next key, while the others still seal with the one before.
    const char key = static_cast<char>('a' + count / 8);
    const size_t at = static_cast<size_t>(count) % kReactors;
    if (count % 8 >= 4) {
      const char next = static_cast<char>(key + 1);
      REQUIRE(listeners[at].reloadTls(sealedWith({next, key})));
    } else if (count % 8 == 0) {
      for (const Listener<>& listener : listeners) {
        const char before = static_cast<char>(key - 1);
        if (count > 0) REQUIRE(listener.reloadTls(sealedWith({key, before})));
      }
    }
    TlsOptions tls = clientTls();
    tls.session = session;
    Visit result;
    visit(clients, listeners[at].port(), tls, result);
    runUntil(clients, [&] {
      for (Reactor& reactor : reactors) reactor.step();
      return result.done();
    });
    INFO("visit " << count);
    REQUIRE(result.error.empty());
    REQUIRE(result.resumed == (count > 0));
    session = result.session;
  }
}

}  // namespace warren
