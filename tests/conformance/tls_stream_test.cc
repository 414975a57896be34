// TLS: the stream, its ends, and what breaks it.
#include "conformance/tls_stage.h"

namespace warren::conformance {
namespace {

SCENARIO_TEST("tls-backpressure", "TLS: 16 MiB to a paused peer, the rest from drain") {
  constexpr size_t kSize = 16 * kMiB;
  Stage stage("tls-backpressure");
  const Bytes given = bytes(kSize);
  size_t accepted = 0;
  size_t received = 0;
  bool intact = true;
  const auto writes = [&](Actor socket) {
    const std::ptrdiff_t taken = socket.write(given.subspan(accepted));
    if (taken > 0) accepted += static_cast<size_t>(taken);
    return taken;
  };
  verified(stage,
           {.server = {.data =
                           [&](Actor, Bytes some) {
                             const Bytes wanted = given.subspan(received, some.size());
                             intact =
                                 intact && std::equal(some.begin(), some.end(), wanted.begin());
                             received += some.size();
                           },
                       .handshake = [](Actor socket, bool, const Error&) { socket.pause(); }},
            .client = {.drain = [&](Actor socket) {
              if (accepted == 0 || accepted == kSize) return;
              writes(socket);
            }}});
  stage.does("client", "write(16 MiB)", [&] { return amount(writes(stage["client"]), kSize); });
  stage.write("client", "x");
  stage.resume("server");
  stage.until([&] { return received == kSize; });
  stage.note("client", "all accepted");
  stage.note("client", "bytesWritten is the plain size", stage["client"].bytesWritten() == kSize);
  stage.end("client");
  stage.awaits("server", "close");
  stage.note("server", "contents intact", intact);
  stage.conforms();
}

SCENARIO_TEST("tls-bytes-written", "TLS: return values and bytesWritten count plain bytes") {
  Stage stage("tls-bytes-written");
  verified(stage);
  const auto written = [&](const std::string& what) {
    stage.note("client", what, stage["client"].bytesWritten());
  };
  written("bytesWritten after the handshake");
  stage.write("client", "hello");
  written("bytesWritten");
  stage.does("client", "write(100000 bytes)",
             [&] { return stage["client"].write(Bytes(bytes(100'000))); });
  written("bytesWritten");
  stage.quiet();
  stage["client"].close();
  written("bytesWritten after close");
  stage.conforms();
}

// The client says "bye" and ends in some way; the server answers "late" from `end`, and ends itself.
void saysBye(Stage& stage, const std::function<void()>& ends, bool halfOpen) {
  verified(stage, {.server = {.end = [&](Actor) { stage.write("server", "late"); }},
                   .listening = {.allowHalfOpen = halfOpen},
                   .connecting = {.allowHalfOpen = halfOpen}});
  stage.write("client", "bye");
  ends();
  stage.readyState("client");
  stage.write("client", "x");
  stage.quiet();
  stage.end("server");
  stage.conforms();
}

SCENARIO_TEST("tls-end", "TLS: end() from the client") {
  Stage stage("tls-end");
  saysBye(
      stage, [&] { stage.end("client"); }, false);
}

SCENARIO_TEST("tls-shutdown", "TLS: shutdown() from the client, half-open allowed on both sides") {
  Stage stage("tls-shutdown");
  saysBye(
      stage, [&] { stage.shutdown("client"); }, true);
}

SCENARIO_TEST("tls-terminate", "TLS: terminate() from the client") {
  Stage stage("tls-terminate");
  saysBye(
      stage, [&] { stage.terminate("client"); }, false);
}

// --- what is in between -------------------------------------------------------------------------------

// A pair with a relay between, one message each way, and then what `breaks` does to the stream towards
// the client or the server. Played for both.
void broken(const char* scenario,
            const std::function<void(Relay&, test::RawSocket& victim, Actor sender)>& breaks) {
  Stage stage(scenario);
  for (const std::string side : {"client", "server"}) {
    const std::string client = "client/" + side;
    const std::string server = "server/" + side;
    Relay relay(stage);
    stage.listen(
        stage.complete(
            server,
            shaking({.open = [&](Actor socket) { stage.call(server, socket); },
                     .data = [](Actor socket, Bytes) { static_cast<void>(socket.write("hi")); }})),
        {.tls = serverTls()});
    stage.connect(client, stage.complete(client, shaking()),
                  {.port = relay.port(), .tls = clientTls()});
    relay.take();
    relay.until([&] { return stage.count(server, "handshake") > 0; });
    REQUIRE(stage[client].write("hi") == 2);
    relay.until([&] { return stage.count(client, "data") > 0; });
    const bool toClient = side == "client";
    breaks(relay, toClient ? relay.toClient : relay.toServer, stage[toClient ? server : client]);
    stage.until([&] {
      try {
        relay.carry();
      } catch (const std::system_error&) {  // one end is gone, and not gently
      }
      if (relay.toClient.ended()) relay.toServer.close();
      if (relay.toServer.ended()) relay.toClient.close();
      return stage.count(client, "close") + stage.count(server, "close") == 2;
    });
  }
  stage.conforms();
}

SCENARIO_TEST("tls-truncated", "TLS: the peer's FIN without a close alert") {
  broken("tls-truncated", [](Relay&, test::RawSocket& victim, Actor) { victim.shutdownWrite(); });
}

SCENARIO_TEST("tls-bad-record", "TLS: a record that does not decrypt on an established session") {
  broken("tls-bad-record", [](Relay& relay, test::RawSocket& victim, Actor sender) {
    victim.sendAll(std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
    static_cast<void>(sender.write("fine"));
    relay.carry();
  });
}

// --- upgrading ----------------------------------------------------------------------------------------

SCENARIO_TEST("tls-upgrade-client", "upgradeTLS on a connected plain client") {
  Stage stage("tls-upgrade-client");
  stage.listen(
      stage.complete(
          "server", shaking({.open = [&](Actor socket) { stage.call("server", socket); },
                             .data = [](Actor socket,
                                        Bytes bytes) { static_cast<void>(socket.write(bytes)); }})),
      {.tls = serverTls()});
  test::RawSocket listening = test::RawSocket::listenTcp();
  stage.connect("client", stage.complete("client"),
                {.port = listening.port(), .data = context("RAW")});
  test::RawSocket plain = listening.accept();
  plain.sendAll("READY\n");
  stage.awaits("client", "data");

  const Actor original = stage["client"];
  static_cast<void>(stage.does("client", "upgradeTLS({data: \"TLS\", tls, socket})",
                               [&] { return original.upgradeTls(clientTls()); }));
  REQUIRE(original.reload(stage.complete("client.tls", shaking())));
  stage.call("client.tls", original);
  stage.note("client.tls", "context", *original.data());
  stage.note("client", "original readyState", readyState(original));

  test::RawSocket secure = test::RawSocket::connectTcp(static_cast<uint16_t>(stage.host().port()));
  const auto relayUntil = [&](const std::string& who, const std::string& event) {
    stage.until([&] {
      secure.sendAll(plain.readSome());
      plain.sendAll(secure.readSome());
      return stage.count(who, event) > 0;
    });
  };
  relayUntil("client.tls", "handshake");
  relayUntil("server", "handshake");
  stage.note("client.tls", "authorized", original.tls().authorized());
  stage.write("client.tls", "ping");
  relayUntil("client.tls", "data");
  stage.close("client.tls");
  relayUntil("server", "close");
  stage.note("client", "original readyState", readyState(original));
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
