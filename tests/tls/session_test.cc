#include "tls/session.h"

#include <cstdint>
#include <string>

#include "support/catch.h"
#include "tls/ends.h"

namespace warren::test {
namespace {

constexpr TlsVersion kVersions[] = {TlsVersion::tls12, TlsVersion::tls13};

TlsOptions only(TlsOptions options, TlsVersion version) {
  options.minVersion = options.maxVersion = version;
  return options;
}

// Bytes that repeat late, so that a block at the wrong place shows.
std::string noise(size_t size, uint32_t seed = 1) {
  std::string text(size, '\0');
  for (char& byte : text) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<char>(seed >> 24);
  }
  return text;
}

// The sizes of the TLS records in a stream, with their headers.
std::vector<size_t> recordSizes(std::string_view stream) {
  std::vector<size_t> sizes;
  while (stream.size() >= 5) {
    const auto octet = [&](size_t at) { return size_t{static_cast<uint8_t>(stream[at])}; };
    sizes.push_back(std::min(stream.size(), 5 + (octet(3) << 8 | octet(4))));
    stream.remove_prefix(sizes.back());
  }
  return sizes;
}

// --- the handshake -----------------------------------------------------------------------------

TEST_CASE("a handshake makes both ends ready once, and both know the facts") {
  for (const TlsVersion version : kVersions) {
    Ends both = shaken(only(serverOptions(), version), clientOptions());
    REQUIRE(both.fine());
    for (const End* end : {&both.client, &both.server}) {
      CHECK(end->session->version() == version);
      CHECK(end->session->serverName() == "localhost");
      CHECK(end->session->keyExchange() == "X25519");
      CHECK(end->session->cipher().starts_with("TLS_"));
      CHECK_FALSE(end->session->resumed());
      CHECK_FALSE(end->session->error());
    }
    CHECK(both.client.session->authorized());
    CHECK_FALSE(both.client.session->authorizationError());
    CHECK_FALSE(both.server.session->authorized());
    CHECK_FALSE(both.server.session->authorizationError());
    CHECK(both.server.session->certificate()->subject == "CN=leaf");
    CHECK_FALSE(both.client.session->certificate());
    CHECK(both.server.session->peerCertificates().empty());
  }
}

TEST_CASE("before the handshake nothing is known") {
  Ends both = ends(serverOptions(), clientOptions());
  CHECK_FALSE(both.client.session->ready());
  CHECK(both.client.session->version() == TlsVersion::unknown);
  CHECK(both.client.session->cipher().empty());
  CHECK(both.client.session->keyExchange().empty());
  CHECK(both.client.session->session().empty());
  CHECK(both.client.session->peerCertificates().empty());
  CHECK_FALSE(both.client.session->authorized());
  CHECK_FALSE(both.client.session->authorizationError());
  CHECK_FALSE(both.client.session->pending());
  CHECK_FALSE(both.client.session->exportKeyingMaterial(8, "label", {}));
  CHECK(both.client.session->finished().empty());
}

TEST_CASE("the handshake goes through whatever the pieces it comes in") {
  const auto policies = {policyOf(only(serverOptions(), TlsVersion::tls12)),
                         policyOf(only(serverOptions(), TlsVersion::tls13))};
  const auto credentials = clientCredentials(clientOptions());
  for (const auto& policy : policies) {
    for (const unsigned chunk : {1u, 2u, 3u, 5u, 7u, 64u, 255u, 1000u}) {
      Ends both = connected(policy, credentials);
      both.run(chunk);
      REQUIRE(both.fine());
      both.client.send("ping");
      both.run(chunk);
      REQUIRE(both.server.plain == "ping");
    }
  }
}

TEST_CASE("the client's first flight may be cut at every byte") {
  const auto policy = policyOf(serverOptions());
  const auto credentials = clientCredentials(clientOptions());
  Ends first = connected(policy, credentials);
  first.client.feed({});
  const size_t size = first.client.output().size();
  for (size_t cut = 1; cut < size; ++cut) {
    Ends both = connected(policy, credentials);
    both.client.feed({});
    const std::string hello = both.client.take();
    REQUIRE(hello.size() == size);
    both.server.feed(std::string_view(hello).substr(0, cut));
    REQUIRE(both.server.output().empty());
    both.server.feed(std::string_view(hello).substr(cut));
    REQUIRE_FALSE(both.server.output().empty());
    REQUIRE_FALSE(both.server.failed);
  }
}

TEST_CASE("the server's flight and the client's answer may be cut at every byte") {
  for (const TlsVersion version : kVersions) {
    const auto policy = policyOf(only(serverOptions(), version));
    const auto credentials = clientCredentials(clientOptions());
    bool cutLeft = true;
    for (size_t cut = 1; cutLeft; cut += 7) {
      Ends both = connected(policy, credentials);
      both.client.feed({});
      cutLeft = false;
      while (!both.client.output().empty() || !both.server.output().empty()) {
        for (const auto& [from, to] :
             {std::pair(&both.client, &both.server), std::pair(&both.server, &both.client)}) {
          const std::string flight = from->take();
          const size_t at = std::min(cut, flight.size());
          cutLeft = cutLeft || at < flight.size();
          to->feed(std::string_view(flight).substr(0, at));
          to->feed(std::string_view(flight).substr(at));
        }
      }
      REQUIRE(both.fine());
    }
  }
}

TEST_CASE("bytes right behind the handshake in the same piece are not lost") {
  Ends both = ends(serverOptions(), clientOptions());
  both.client.feed({});
  both.server.feed(both.client.take());
  both.client.feed(both.server.take());
  REQUIRE(both.client.readies == 1);
  both.client.send("early bird");
  both.server.feed(both.client.take());
  CHECK(both.server.readies == 1);
  CHECK(both.server.plain == "early bird");
}

TEST_CASE("half of a handshake makes nobody ready and nothing fail") {
  Ends both = ends(serverOptions(), clientOptions());
  both.client.feed({});
  const std::string hello = both.client.take();
  both.server.feed(std::string_view(hello).substr(0, hello.size() / 2));
  CHECK(both.server.readies == 0);
  CHECK_FALSE(both.server.failed);
  both.server.feed(std::string_view(hello).substr(hello.size() / 2));
  const std::string flight = both.server.take();
  both.client.feed(std::string_view(flight).substr(0, flight.size() / 2));
  CHECK(both.client.readies == 0);
  CHECK_FALSE(both.client.failed);
}

TEST_CASE("a session that is dropped in the middle of the handshake leaves nothing") {
  Ends both = ends(serverOptions(), clientOptions());
  both.client.feed({});
  both.server.feed(both.client.take());
  both.client.session->close();  // nothing to close yet
  CHECK(both.client.output().empty());
}

// --- data --------------------------------------------------------------------------------------

TEST_CASE("much data goes both ways unharmed, in pieces of any size") {
  for (const TlsVersion version : kVersions) {
    for (const size_t chunk : {size_t{1000}, size_t{16389}, SIZE_MAX}) {
      Ends both = shaken(only(serverOptions(), version), clientOptions());
      const std::string up = noise(1 << 20, 1);
      const std::string down = noise(700001, 2);
      both.client.send(up);
      both.server.send(down);
      both.run(chunk);
      REQUIRE(std::hash<std::string>()(both.server.plain) == std::hash<std::string>()(up));
      REQUIRE(both.server.plain == up);
      REQUIRE(both.client.plain == down);
    }
  }
}

TEST_CASE("a small buffer gets the plaintext piece by piece, and pending says there is more") {
  Ends both = shaken(serverOptions(), clientOptions());
  const std::string sent = noise(50000);
  both.client.send(sent);
  const std::string cipher = both.client.take();
  Bytes input = asBytes(cipher);
  std::string got;
  std::byte into[7];
  bool pended = false;
  for (;;) {
    const tls::Session::Received received = both.server.session->receive(input, into);
    if (received.state != tls::Session::State::plaintext) break;
    got += asText(Bytes(into, received.plain));
    pended = pended || both.server.session->pending();
  }
  CHECK(input.empty());
  CHECK(got == sent);
  CHECK(pended);
  CHECK_FALSE(both.server.session->pending());
}

TEST_CASE("plaintext that waits inside comes without more input") {
  Ends both = shaken(serverOptions(), clientOptions());
  both.client.send("0123456789");
  const std::string cipher = both.client.take();
  Bytes input = asBytes(cipher);
  std::byte into[4];
  REQUIRE(both.server.session->receive(input, into).plain == 4);
  CHECK(input.empty());
  CHECK(both.server.session->pending());
  REQUIRE(both.server.session->receive(input, into).plain == 4);
  REQUIRE(both.server.session->receive(input, into).plain == 2);
  CHECK_FALSE(both.server.session->pending());
  CHECK(both.server.session->receive(input, into).state == tls::Session::State::more);
}

TEST_CASE("the first records fill a segment each, and later ones 16 KiB") {
  Ends both = shaken(serverOptions(), clientOptions());
  both.client.send(noise(100));
  REQUIRE(recordSizes(both.client.take()).size() == 1);
  both.client.send(noise(50000));
  const std::vector<size_t> sizes = recordSizes(both.client.take());
  REQUIRE(sizes.size() == 13);
  for (size_t place = 0; place < 10; ++place) CHECK(sizes[place] <= 1400);
  CHECK(sizes[10] > 16384);
  CHECK(sizes[11] == sizes[10]);
  CHECK(sizes[12] < 16384);
  both.server.send(noise(1));
  REQUIRE(recordSizes(both.server.take()).back() < 100);
}

TEST_CASE("maxSendFragment makes records smaller, by option and later") {
  TlsOptions options = clientOptions();
  options.maxSendFragment = 1024;
  Ends both = shaken(serverOptions(), options);
  REQUIRE(both.fine());
  both.client.send(noise(10240));
  CHECK(recordSizes(both.client.take()).size() == 10);
  CHECK(both.client.session->setMaxSendFragment(512));
  both.client.send(noise(10240));
  CHECK(recordSizes(both.client.take()).size() == 20);
  CHECK_FALSE(both.client.session->setMaxSendFragment(511));
  CHECK_FALSE(both.client.session->setMaxSendFragment(16385));
  both.client.send(noise(10240));
  CHECK(recordSizes(both.client.take()).size() == 20);
}

TEST_CASE("setMaxSendFragment counts also when a name with other options is asked for behind it") {
  auto policy = std::make_shared<tls::ServerPolicy>();
  policy->fallback = serverCredentials(serverOptions());
  policy->named = {{"localhost", serverCredentials(serverOptions())}};
  Ends both = connected(policy, clientCredentials(clientOptions()));
  REQUIRE(both.server.session->setMaxSendFragment(512));
  both.run();
  REQUIRE(both.fine());
  both.server.send("x");  // and what comes with the first bytes
  both.server.take();
  both.server.send(noise(5120));
  CHECK(recordSizes(both.server.take()).size() == 10);
}

TEST_CASE("sending nothing sends nothing") {
  Ends both = shaken(serverOptions(), clientOptions());
  both.client.send("");
  CHECK(both.client.output().empty());
}

TEST_CASE("a changed byte anywhere in a record ends the session with a reason") {
  for (const size_t at : {size_t{5}, size_t{20}, size_t{60}}) {
    Ends both = shaken(serverOptions(), clientOptions());
    both.client.send(noise(64));
    std::string cipher = both.client.take();
    cipher[at] = static_cast<char>(cipher[at] ^ 1);
    both.server.feed(cipher);
    REQUIRE(both.server.failed);
    CHECK(both.server.plain.empty());
    CHECK(both.server.session->error().step() == Step::read);
    CHECK(both.server.errorName() == "ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC");
    both.client.feed(both.server.take());
    CHECK(both.client.errorName() == "ERR_SSL_SSLV3_ALERT_BAD_RECORD_MAC");
  }
}

TEST_CASE("what came before a broken record is delivered, then the failure is told") {
  Ends both = shaken(serverOptions(), clientOptions());
  both.client.send("good");
  std::string cipher = both.client.take();
  both.client.send("bad");
  std::string broken = both.client.take();
  broken.back() = static_cast<char>(broken.back() ^ 1);
  both.server.feed(cipher + broken);
  CHECK(both.server.plain == "good");
  CHECK(both.server.failed);
}

TEST_CASE("a record that is cut is waited for") {
  Ends both = shaken(serverOptions(), clientOptions());
  both.client.send("whole");
  const std::string cipher = both.client.take();
  both.server.feed(std::string_view(cipher).substr(0, cipher.size() - 1));
  CHECK(both.server.plain.empty());
  CHECK_FALSE(both.server.failed);
  CHECK_FALSE(both.server.ended);
  both.server.feed(std::string_view(cipher).substr(cipher.size() - 1));
  CHECK(both.server.plain == "whole");
}

TEST_CASE("a session that has failed stays so and says the same") {
  Ends both = shaken(serverOptions(), clientOptions());
  both.server.feed("\x16\x03\x03\xff\xff nonsense");
  REQUIRE(both.server.failed);
  const std::string message = both.server.session->error().message();
  both.server.take();
  both.server.feed("more");
  both.server.session->close();
  CHECK(both.server.session->error().message() == message);
  CHECK(both.server.output().empty());
  CHECK_FALSE(both.server.session->pending());
  const Result<size_t> sent = both.server.session->send(asBytes("late"));
  CHECK(sent.error().message() == message);
}

// --- the end -----------------------------------------------------------------------------------

TEST_CASE("close_notify ends one direction, and the other one goes on") {
  for (const TlsVersion version : kVersions) {
    Ends both = shaken(only(serverOptions(), version), clientOptions());
    both.client.send("last words");
    both.client.session->close();
    both.client.session->close();
    const std::string cipher = both.client.take();
    CHECK(recordSizes(cipher).size() == 2);
    both.server.feed(cipher);
    CHECK(both.server.plain == "last words");
    CHECK(both.server.ended);
    CHECK_FALSE(both.server.failed);

    both.server.send("answer");
    both.server.session->close();
    both.client.feed(both.server.take());
    CHECK(both.client.plain == "answer");
    CHECK(both.client.ended);
    CHECK_FALSE(both.client.failed);
  }
}

TEST_CASE("after close nothing more can be sent") {
  Ends both = shaken(serverOptions(), clientOptions());
  both.client.session->close();
  const Result<size_t> sent = both.client.session->send(asBytes("late"));
  REQUIRE_FALSE(sent);
  CHECK(sent.error().is(Usage::ended));
}

TEST_CASE("what follows a close_notify is dropped") {
  Ends both = shaken(serverOptions(), clientOptions());
  both.client.session->close();
  both.server.feed(both.client.take() + "garbage behind the end");
  CHECK(both.server.ended);
  CHECK_FALSE(both.server.failed);
  CHECK(both.server.plain.empty());
}

TEST_CASE("a stream that stops without close_notify has not ended") {
  Ends both = shaken(serverOptions(), clientOptions());
  both.client.send("cut");
  both.server.feed(both.client.take());
  both.server.feed({});
  CHECK_FALSE(both.server.ended);
  CHECK_FALSE(both.server.failed);
}

// --- strangers ---------------------------------------------------------------------------------

TEST_CASE("plain HTTP to a server is refused by that name") {
  Ends both = ends(serverOptions(), clientOptions());
  both.server.feed("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  REQUIRE(both.server.failed);
  CHECK(both.server.errorName() == "ERR_SSL_HTTP_REQUEST");
  CHECK(both.server.session->error().message() ==
        "handshake: the peer speaks plain HTTP: ERR_SSL_HTTP_REQUEST");
}

TEST_CASE("garbage in the place of a ClientHello is refused") {
  for (const std::string& garbage :
       {noise(600, 7), std::string(600, '\0'), std::string(600, '\xff'),
        std::string("SSH-2.0-OpenSSH_9.2\r\n"),
        std::string("\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9)}) {
    Ends both = ends(serverOptions(), clientOptions());
    both.server.feed(garbage);
    CHECK(both.server.failed);
    CHECK(both.server.session->error().origin() == Origin::tls);
    CHECK(both.server.session->error().step() == Step::handshake);
    CHECK(both.server.readies == 0);
  }
}

TEST_CASE("a server that does not speak TLS is refused by the client") {
  Ends both = ends(serverOptions(), clientOptions());
  both.client.feed({});
  both.client.feed("HTTP/1.1 400 Bad Request\r\n\r\n");
  REQUIRE(both.client.failed);
  CHECK(both.client.errorName() == "ERR_SSL_WRONG_VERSION_NUMBER");
}

TEST_CASE("an alert of the peer is the reason, by its name") {
  Ends both = ends(serverOptions(), clientOptions());
  both.client.feed({});
  both.client.feed(std::string("\x15\x03\x03\x00\x02\x02\x28", 7));
  REQUIRE(both.client.failed);
  CHECK(both.client.errorName() == "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE");
  CHECK(both.client.session->error().message().find("handshake failure") != std::string::npos);
}

TEST_CASE("a peer that closes in the middle of the handshake is a failure") {
  Ends both = ends(serverOptions(), clientOptions());
  both.client.feed({});
  both.client.feed(std::string("\x15\x03\x03\x00\x02\x01\x00", 7));
  CHECK(both.client.failed);
  CHECK_FALSE(both.client.ended);
}

// --- channel binding ---------------------------------------------------------------------------

TEST_CASE("both ends export the same keying material") {
  Ends both = shaken(serverOptions(), clientOptions());
  const auto ours = both.client.session->exportKeyingMaterial(32, "EXPORTER-test", "context");
  const auto theirs = both.server.session->exportKeyingMaterial(32, "EXPORTER-test", "context");
  const auto other = both.server.session->exportKeyingMaterial(32, "EXPORTER-test", "else");
  REQUIRE(ours);
  REQUIRE(theirs);
  REQUIRE(other);
  CHECK(ours->size() == 32);
  CHECK(*ours == *theirs);
  CHECK(*ours != *other);
  CHECK(both.client.session->exportKeyingMaterial(0, "x", {}).error().is(Usage::outOfRange));
  CHECK(both.client.session->exportKeyingMaterial(16385, "x", {}).error().is(Usage::outOfRange));
}

TEST_CASE("the Finished messages are told in TLS 1.2, and are none of anybody's business in 1.3") {
  Ends both = shaken(only(serverOptions(), TlsVersion::tls12), clientOptions());
  CHECK(both.client.session->finished().size() == 12);
  CHECK(both.client.session->finished() == both.server.session->peerFinished());
  CHECK(both.server.session->finished() == both.client.session->peerFinished());
  both = shaken(only(serverOptions(), TlsVersion::tls13), clientOptions());
  CHECK(both.client.session->finished().empty());
  CHECK(both.client.session->peerFinished().empty());
}

}  // namespace
}  // namespace warren::test
