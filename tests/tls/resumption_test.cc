#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.h"
#include "tls/credentials_impl.h"
#include "tls/ends.h"
#include "tls/session_cache.h"
#include "tls/ticket_keys.h"

namespace warren::test {
namespace {

using tls::Role;
using Names = std::vector<std::string>;

constexpr TlsVersion kVersions[] = {TlsVersion::tls12, TlsVersion::tls13};

std::string keyOf(char letter) { return std::string(48, letter); }

TlsOptions only(TlsOptions options, TlsVersion version) {
  options.minVersion = options.maxVersion = version;
  return options;
}

TlsOptions sealedWith(std::vector<std::string> keys, TlsVersion version) {
  TlsOptions options = only(serverOptions(), version);
  options.ticketKeys = std::move(keys);
  return options;
}

// What the client may resume with. Tickets of TLS 1.3 come with the first bytes of the server.
std::string sessionWith(Ends& both) {
  both.run();
  REQUIRE(both.fine());
  both.server.send("x");
  both.run();
  return both.client.session->session();
}

std::string sessionWith(const TlsOptions& server, const TlsOptions& client) {
  Ends both = ends(server, client);
  return sessionWith(both);
}

// Connects with a session from before; whether both ends resumed it.
bool resumes(Ends both, const std::string& session) {
  REQUIRE(both.client.session->setSession(session));
  both.run();
  REQUIRE(both.fine());
  CHECK(both.client.session->resumed() == both.server.session->resumed());
  both.client.send("ping");
  both.run();
  REQUIRE(both.server.plain == "ping");
  return both.client.session->resumed();
}

std::string drained(base::RingBuffer& ring) {
  std::string all;
  for (const Bytes part : ring.readable()) all += asText(part);
  ring.consume(ring.size());
  return all;
}

// Feeds a session; whether it has said something that means bytes have arrived.
bool hears(tls::Session& session, const std::string& cipher) {
  Bytes input = asBytes(cipher);
  std::byte into[512];
  for (;;) {
    switch (session.receive(input, into).state) {
      case tls::Session::State::plaintext:
        return true;
      case tls::Session::State::ready:
        break;
      default:
        return false;
    }
  }
}

// Shakes hands and lets the server, then the client, say something.
bool greets(tls::Session client, tls::Session server, base::RingBuffer& up,
            base::RingBuffer& down) {
  hears(client, "");
  hears(server, drained(up));
  hears(client, drained(down));
  hears(server, drained(up));
  if (!client.ready() || !server.ready()) return false;
  if (!server.send(asBytes("hello")) || !hears(client, drained(down))) return false;
  return client.send(asBytes("hello")) && hears(server, drained(up));
}

TEST_CASE("a session is resumed from its bytes, by other credentials of the client too") {
  for (const TlsVersion version : kVersions) {
    const auto policy = policyOf(only(serverOptions(), version));
    Ends first = connected(policy, clientCredentials(clientOptions()));
    const std::string session = sessionWith(first);
    REQUIRE_FALSE(session.empty());
    CHECK(resumes(connected(policy, clientCredentials(clientOptions())), session));
  }
}

TEST_CASE("a resumed session knows who the peer is") {
  for (const TlsVersion version : kVersions) {
    TlsOptions asking = only(serverOptions(), version);
    asking.requestCert = true;
    asking.ca = testAuthority().cert;
    TlsOptions showing = clientOptions();
    showing.key = testLeaf().key;
    showing.cert = testLeaf().cert;
    const auto policy = policyOf(asking);
    Ends first = connected(policy, clientCredentials(showing));
    const std::string session = sessionWith(first);
    Ends both = connected(policy, clientCredentials(showing));
    REQUIRE(both.client.session->setSession(session));
    both.run();
    REQUIRE(both.client.session->resumed());
    CHECK(both.client.session->authorized());
    CHECK(both.server.session->authorized());
    CHECK(both.client.session->peerCertificates().at(0).subject == "CN=leaf");
    CHECK(both.server.session->peerCertificates().at(0).subject == "CN=leaf");
  }
}

// In seconds, of a session that these ends agree on.
uint32_t lifetime(const TlsOptions& server, const TlsOptions& client) {
  const std::string bytes = sessionWith(server, client);
  const auto credentials = clientCredentials(client);
  const bssl::UniquePtr<SSL_SESSION> session(
      SSL_SESSION_from_bytes(tls::octets(bytes), bytes.size(), credentials->context.get()));
  REQUIRE(session != nullptr);
  return SSL_SESSION_get_timeout(session.get());
}

TEST_CASE("a session lives no longer than the certificates that were verified for it") {
  const Identity shortly = issue(testAuthority(), {.names = {"DNS:localhost"}, .endSeconds = 3600});
  const Identity dying = selfSigned({.subject = "dying", .endSeconds = 3600, .authority = true});
  for (const TlsVersion version : kVersions) {
    TlsOptions server = only(serverOptions(), version);
    CHECK(lifetime(server, clientOptions()) > 7000);
    server.key = shortly.key;
    server.cert = shortly.cert;
    CHECK(lifetime(server, clientOptions()) <= 3600);

    const Identity leaf = issue(dying, {.names = {"DNS:localhost"}});
    server.key = leaf.key;
    server.cert = leaf.cert;
    TlsOptions trusting = clientOptions();
    trusting.ca = dying.cert;
    CHECK(lifetime(server, trusting) <= 3600);
  }
  // A server says in TLS 1.3 how long its ticket is good for.
  TlsOptions asking = only(serverOptions(), TlsVersion::tls13);
  asking.requestCert = true;
  asking.ca = testAuthority().cert;
  TlsOptions showing = clientOptions();
  showing.key = shortly.key;
  showing.cert = shortly.cert;
  CHECK(lifetime(asking, showing) <= 3600);
}

TEST_CASE("the peer of a session that is only offered is nobody's peer yet") {
  const auto policy = policyOf(serverOptions());
  Ends first = connected(policy, clientCredentials(clientOptions()));
  const std::string session = sessionWith(first);
  Ends both = connected(policy, clientCredentials(clientOptions()));
  REQUIRE(both.client.session->setSession(session));
  CHECK(both.client.session->peerCertificates().empty());
  both.client.feed({});
  CHECK(both.client.session->peerCertificates().empty());
  both.run();
  REQUIRE(both.client.session->resumed());
  CHECK(both.client.session->peerCertificates().size() == 1);
  CHECK(both.server.session->sharedSignatureAlgorithms().empty());
}

TEST_CASE("without sessionTickets nothing is resumed") {
  for (const TlsVersion version : kVersions) {
    TlsOptions options = only(serverOptions(), version);
    options.sessionTickets = false;
    CHECK(sessionWith(options, clientOptions()).empty());
  }
}

TEST_CASE("ticket keys make servers resume the sessions of each other") {
  for (const TlsVersion version : kVersions) {
    const std::string session = sessionWith(sealedWith({keyOf('a')}, version), clientOptions());
    CHECK(resumes(ends(sealedWith({keyOf('a')}, version), clientOptions()), session));
    CHECK_FALSE(resumes(ends(sealedWith({keyOf('b')}, version), clientOptions()), session));
    // Its own keys, which nobody else has.
    CHECK_FALSE(resumes(ends(only(serverOptions(), version), clientOptions()), session));
  }
}

TEST_CASE("without ticket keys all listeners of a process resume the sessions of each other") {
  for (const TlsVersion version : kVersions) {
    const std::string session = sessionWith(only(serverOptions(), version), clientOptions());
    REQUIRE(resumes(ends(only(serverOptions(), version), clientOptions()), session));
  }
}

TEST_CASE("a process changes its ticket keys every day, and keeps the one before for another") {
  constexpr int64_t kDay = tls::TicketKeys::kPeriod;
  constexpr int64_t kStart = 1'000'000;
  tls::TicketKeys keys;
  const auto at = [&](int64_t seconds) {
    Names names;
    for (const tls::TicketKey& key : keys.at(kStart + seconds)) {
      names.emplace_back(key.name.begin(), key.name.end());
    }
    return names;
  };
  const Names first = at(0);
  REQUIRE(first.size() == 1);
  REQUIRE(at(kDay - 1) == first);
  const Names second = at(kDay);
  REQUIRE(second.size() == 2);
  REQUIRE(second[1] == first[0]);
  REQUIRE(second[0] != first[0]);
  REQUIRE(at(2 * kDay) == Names{at(2 * kDay)[0], second[0]});
  const Names late = at(4 * kDay - 1);  // the second one's time is over, the third one's is not
  REQUIRE(late.size() == 2);
  REQUIRE(at(5 * kDay - 1).size() == 2);
  const Names idle = at(8 * kDay);  // nobody came for long: no old key is good any more
  REQUIRE(idle.size() == 1);
}

TEST_CASE("a ticket key that was replaced late opens no longer than two days all the same") {
  constexpr int64_t kDay = tls::TicketKeys::kPeriod;
  tls::TicketKeys keys;
  static_cast<void>(keys.at(0));
  REQUIRE(keys.at(2 * kDay - 1).size() == 2);
  REQUIRE(keys.at(2 * kDay).size() == 1);
}

TEST_CASE("a clock that is set back by years does not make a ticket key last for years") {
  tls::TicketKeys keys;
  const auto ahead = keys.at(10'000'000'000);
  const auto right = keys.at(1'000'000'000);
  REQUIRE(right.front().name != ahead.front().name);
  REQUIRE(keys.at(1'000'000'000).front().name == right.front().name);
}

TEST_CASE("ticket keys are rotated with an overlap, and old tickets are renewed") {
  for (const TlsVersion version : kVersions) {
    const std::string old = sessionWith(sealedWith({keyOf('a')}, version), clientOptions());
    const TlsOptions overlap = sealedWith({keyOf('b'), keyOf('a')}, version);
    CHECK(resumes(ends(overlap, clientOptions()), old));

    Ends both = ends(overlap, clientOptions());
    REQUIRE(both.client.session->setSession(old));
    const std::string renewed = sessionWith(both);
    REQUIRE(both.client.session->resumed());
    REQUIRE_FALSE(renewed.empty());
    const TlsOptions after = sealedWith({keyOf('c'), keyOf('b')}, version);
    CHECK(resumes(ends(after, clientOptions()), renewed));
    CHECK_FALSE(resumes(ends(after, clientOptions()), old));
  }
}

TEST_CASE("ticket keys of the wrong size, and two with one name, are refused") {
  TlsOptions options = serverOptions();
  options.ticketKeys = {keyOf('a'), std::string(47, 'b')};
  CHECK(refused(options, Role::server, Usage::outOfRange) ==
        "options: ticketKeys[1] has 47 bytes and not 48");
  options.ticketKeys = {""};
  refused(options, Role::server, Usage::outOfRange);
  options.ticketKeys = {keyOf('a'), std::string(16, 'a') + std::string(32, 'b')};
  refused(options, Role::server, Usage::conflict);
}

TEST_CASE("a session is good for its own host and trust only") {
  const std::string session = sessionWith(serverOptions(), clientOptions());
  REQUIRE_FALSE(session.empty());
  CHECK_FALSE(ends(serverOptions(), clientOptions(), "www.example.com")
                  .client.session->setSession(session));
  TlsOptions other = clientOptions();
  other.ca = testAuthority().cert + selfSigned({.authority = true}).cert;
  CHECK_FALSE(ends(serverOptions(), other).client.session->setSession(session));
  CHECK(ends(serverOptions(), clientOptions()).client.session->setSession(session));
}

TEST_CASE("a session that was never verified does not open the door of one who verifies") {
  TlsOptions careless = clientOptions();
  careless.rejectUnauthorized = false;
  TlsOptions server = sealedWith({keyOf('a')}, TlsVersion::tls13);
  const Identity alone = selfSigned({.names = {"DNS:localhost"}});
  server.key = alone.key;
  server.cert = alone.cert;
  const std::string session = sessionWith(server, careless);
  REQUIRE_FALSE(session.empty());
  CHECK_FALSE(ends(server, clientOptions()).client.session->setSession(session));
  // The careless one resumes it, and still knows.
  Ends both = ends(server, careless);
  REQUIRE(both.client.session->setSession(session));
  both.run();
  REQUIRE(both.client.session->resumed());
  CHECK_FALSE(both.client.session->authorized());
  CHECK(both.client.session->authorizationError().name() == "DEPTH_ZERO_SELF_SIGNED_CERT");
}

TEST_CASE(
    "a ticket from a name that asks for nothing is no good where certificates are asked for") {
  for (const TlsVersion version : kVersions) {
    TlsOptions strict = sealedWith({keyOf('a')}, version);
    strict.requestCert = true;
    strict.ca = testAuthority().cert;
    const std::string session = sessionWith(sealedWith({keyOf('a')}, version), clientOptions());
    Ends both = ends(strict, clientOptions());
    REQUIRE(both.client.session->setSession(session));
    both.run();
    CHECK(both.server.failed);
    CHECK(both.server.errorName() == "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
  }
}

TEST_CASE("a revocation list that is put in force ends resumption") {
  TlsOptions asking = sealedWith({keyOf('a')}, TlsVersion::tls13);
  asking.requestCert = true;
  asking.ca = testAuthority().cert;
  const Identity person = issue(testAuthority(), {.subject = "person"});
  TlsOptions showing = clientOptions();
  showing.key = person.key;
  showing.cert = person.cert;
  const std::string session = sessionWith(asking, showing);
  CHECK(resumes(ends(asking, showing), session));
  asking.crl = revocationList(testAuthority(), {person.cert});
  Ends both = ends(asking, showing);
  REQUIRE(both.client.session->setSession(session));
  both.run();
  CHECK(both.server.errorName() == "CERT_REVOKED");
}

TEST_CASE("bytes that are no session are refused, and so is a late one") {
  Ends both = ends(serverOptions(), clientOptions());
  CHECK_FALSE(both.client.session->setSession(""));
  CHECK_FALSE(both.client.session->setSession("no session"));
  CHECK_FALSE(both.server.session->setSession(sessionWith(serverOptions(), clientOptions())));
  const std::string session = sessionWith(both);
  CHECK_FALSE(both.client.session->setSession(session));
}

TEST_CASE(
    "a session that was given before setVerifyMode is dropped, and the handshake is a full one") {
  const std::string session = sessionWith(serverOptions(), clientOptions());
  Ends both = ends(serverOptions(), clientOptions());
  REQUIRE(both.client.session->setSession(session));
  REQUIRE(both.client.session->setVerifyMode(false, false));
  both.run();
  REQUIRE(both.fine());
  CHECK_FALSE(both.client.session->resumed());
}

TEST_CASE("what a client resumed with in TLS 1.2 it can resume with again") {
  const TlsOptions server = only(serverOptions(), TlsVersion::tls12);
  std::string session = sessionWith(server, clientOptions());
  for (int again = 0; again < 3; ++again) {
    Ends both = ends(server, clientOptions());
    REQUIRE(both.client.session->setSession(session));
    session = sessionWith(both);
    CHECK(both.client.session->resumed());
    REQUIRE_FALSE(session.empty());
    CHECK_FALSE(both.client.session->ticket().empty());
  }
}

TEST_CASE("with cacheSessions a client resumes by itself, each host its own session") {
  for (const TlsVersion version : kVersions) {
    TlsOptions options = clientOptions();
    options.cacheSessions = true;
    tls::SessionCache::ofProcess().clear();
    const auto credentials = clientCredentials(options);
    const auto policy = policyOf(only(serverOptions(), version));
    Ends first = connected(policy, credentials);
    sessionWith(first);
    CHECK_FALSE(first.client.session->resumed());
    Ends elsewhere = connected(policy, credentials, "www.example.com");
    elsewhere.run();
    CHECK_FALSE(elsewhere.client.session->resumed());
    for (int again = 0; again < 3; ++again) {
      Ends next = connected(policy, credentials);
      sessionWith(next);
      CHECK(next.client.session->resumed());
    }
  }
}

TEST_CASE("with cacheSessions clients of different ciphers have each their own session") {
  tls::SessionCache::ofProcess().clear();
  const auto policy = policyOf(only(serverOptions(), TlsVersion::tls12));
  const auto resumesWith = [&](const char* cipher) {
    TlsOptions options = clientOptions();
    options.cacheSessions = true;
    options.ciphers = cipher;
    Ends both = connected(policy, clientCredentials(options));
    sessionWith(both);
    CHECK(both.client.session->cipher() == cipher);
    return both.client.session->resumed();
  };
  const char* const one = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
  const char* const other = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
  CHECK_FALSE(resumesWith(one));
  CHECK_FALSE(resumesWith(other));
  CHECK(resumesWith(one));
  CHECK(resumesWith(other));
}

TEST_CASE("without cacheSessions a client does not resume by itself") {
  const auto credentials = clientCredentials(clientOptions());
  const auto policy = policyOf(serverOptions());
  Ends first = connected(policy, credentials);
  sessionWith(first);
  Ends second = connected(policy, credentials);
  second.run();
  CHECK_FALSE(second.client.session->resumed());
}

TEST_CASE("the cache forgets the host that was not used for longest") {
  tls::SessionCache::ofProcess().clear();
  TlsOptions options = clientOptions();
  options.cacheSessions = true;
  const auto credentials = clientCredentials(options);
  const auto policy = policyOf(only(serverOptions(), TlsVersion::tls12));
  const auto resumedAt = [&](size_t index) {
    Ends both = connected(policy, credentials, "host" + std::to_string(index) + ".example.com");
    both.run();
    REQUIRE(both.fine());
    return both.client.session->resumed();
  };
  for (size_t index = 0; index < tls::SessionCache::kHosts; ++index) CHECK_FALSE(resumedAt(index));
  CHECK(resumedAt(0));
  CHECK_FALSE(resumedAt(1000));  // makes room for itself, at the cost of 1
  CHECK(resumedAt(0));
  CHECK(resumedAt(2));
  CHECK_FALSE(resumedAt(1));
}

TEST_CASE("several threads shake hands with the same credentials") {
  TlsOptions options = clientOptions();
  options.cacheSessions = true;
  const auto credentials = clientCredentials(options);
  const auto policy = policyOf(sealedWith({keyOf('a')}, TlsVersion::tls13));
  std::atomic<int> done = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    // Catch2 is not for several threads, so these only count.
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        tls::Transport up;
        tls::Transport down;
        auto client = tls::Session::client(credentials, "localhost", up);
        auto server = tls::Session::server(policy, down);
        done += greets(std::move(*client), std::move(*server), up.output(), down.output()) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(done == 40);
}

}  // namespace
}  // namespace warren::test
