// end, and what peers do to a socket.
#include "conformance/stage.h"

namespace warren::conformance {
namespace {

using test::RawSocket;

constexpr size_t kLarge = 32 * kMiB;

RawSocket dial(const Stage& stage) {
  return RawSocket::connectTcp(static_cast<uint16_t>(stage.host().port()));
}

void saysGoodbye(const char* scenario, bool halfOpen) {
  Stage stage(scenario);
  stage.pair(stage.complete("server", {.end = [&](Actor) { stage.write("server", "late"); }}),
             stage.complete("client"), {.allowHalfOpen = halfOpen}, {.allowHalfOpen = halfOpen});
  stage.end("client", "bye");
  stage.readyState("client");
  stage.awaits("server", "end");
  stage.write("server", "later");
  stage.quiet();
  stage.end("server");
  stage.conforms();
}

SCENARIO_TEST("end-default",
              "end() from the client; half-open not allowed on the server and not allowed on the "
              "client") {
  saysGoodbye("end-default", false);
}

SCENARIO_TEST("end-both-half-open",
              "end() from the client; half-open allowed on the server and allowed on the client") {
  saysGoodbye("end-both-half-open", true);
}

SCENARIO_TEST("end-return-values", "Return values of end()") {
  Stage stage("end-return-values");
  Table server = stage.complete("server#");
  server.open = {};
  stage.listen(server);
  const auto ends = [&](const std::string& what, auto given) {
    Table client = stage.complete("client");
    client.open = {};
    stage.join("client", client);
    stage.does("client", "end(" + what + ")", [&] { return stage["client"].end(given); });
    stage.readyState("client");
    stage.quiet();
  };
  ends("", Bytes());
  ends("\"\"", "");
  ends("\"abc\"", "abc");
  ends("3-byte buffer", asBytes("xyz"));
  ends("buf, 2, 3", asBytes("0123456789").subspan(2, 3));
  stage.conforms();
}

SCENARIO_TEST("end-large-to-paused-peer", "end(data) that does not fit: is the rest sent?") {
  Stage stage("end-large-to-paused-peer");
  stage.recording().folding.totals["server"] = [](uint64_t) { return "(see the note)"; };
  uint64_t received = 0;
  stage.pair(
      stage.complete("server", {.open = [](Actor socket) { socket.pause(); },
                                .data = [&](Actor, Bytes some) { received += some.size(); }}),
      stage.complete("client"));
  const Bytes given = bytes(kLarge);
  std::ptrdiff_t taken = 0;
  stage.does("client", "end(32 MiB)", [&] {
    taken = stage["client"].end(given);
    return amount(taken, given.size());
  });
  stage.readyState("client");
  stage.quiet();
  stage.resume("server");
  stage.awaits("server", "close");
  const uint64_t returned = static_cast<uint64_t>(taken);
  stage.note("server", "received",
             received == returned ? Json("exactly the returned number") : Json(received));
  stage.note("client", "bytesWritten is the returned number",
             stage["client"].bytesWritten() == returned);
  stage.conforms();
}

SCENARIO_TEST("end-large-no-drain-handler", "end(data) that does not fit, and no drain handler") {
  Stage stage("end-large-no-drain-handler");
  stage.recording().folding.totals["server"] = [](uint64_t) { return "(see the note)"; };
  uint64_t received = 0;
  Table server =
      stage.complete("server", {.open = [](Actor socket) { socket.pause(); },
                                .data = [&](Actor, Bytes some) { received += some.size(); }});
  server.drain = {};
  Table client = stage.complete("client");
  client.drain = {};
  stage.pair(server, client);
  const Bytes given = bytes(kLarge);
  std::ptrdiff_t taken = 0;
  stage.does("client", "end(32 MiB)", [&] {
    taken = stage["client"].end(given);
    return amount(taken, given.size());
  });
  stage.quiet();
  stage.resume("server");
  stage.until([&] { return received == static_cast<uint64_t>(taken); });
  stage.note("server", "received exactly the returned number",
             received == static_cast<uint64_t>(taken));
  stage.readyState("client");
  stage.note("both", "close events",
             stage.count("server", "close") + stage.count("client", "close"));
  stage.conforms();
}

SCENARIO_TEST("end-no-end-handler", "Peer ends; no end handler in the table") {
  Stage stage("end-no-end-handler");
  const auto plays = [&](const std::string& server, const std::string& client, bool halfOpen) {
    Table table = stage.complete(server);
    table.end = {};
    stage.listen(table, {.allowHalfOpen = halfOpen});
    stage.join(client, stage.complete(client));
    stage.end(client, "x");
    stage.quiet();
    stage.readyState(server);
  };
  plays("server", "client1", false);
  plays("server(half-open)", "client2", true);
  stage.write("server(half-open)", "y");
  stage.end("server(half-open)");
  stage.conforms();
}

SCENARIO_TEST("end-with-unread-input",
              "end() while accepted bytes are unsent and input is unread") {
  Stage stage("end-with-unread-input");
  const auto plays = [&](const std::string& way, bool halfOpen,
                         std::function<void(const std::string&)> act) {
    const std::string server = "server/" + way;
    const std::string client = "client/" + way;
    stage.recording().folding.totals[server] = [](uint64_t) { return "(see the note)"; };
    uint64_t received = 0;
    uint64_t accepted = 0;
    Table serverTable =
        stage.complete(server, {.open =
                                    [](Actor socket) {
                                      socket.pause();
                                      REQUIRE(socket.write("unread") == 6);
                                    },
                                .data = [&](Actor, Bytes some) { received += some.size(); }});
    Table clientTable = stage.complete(client, {.open = [](Actor socket) { socket.pause(); }});
    clientTable.drain = {};  // a refused write has one; the recording does not tell it
    stage.listen(serverTable, {.allowHalfOpen = halfOpen});
    stage.join(client, clientTable, {.allowHalfOpen = halfOpen});
    const Bytes given = bytes(kLarge);
    stage.does(client, "write(32 MiB)", [&] {
      const std::ptrdiff_t taken = stage[client].write(given);
      accepted = static_cast<uint64_t>(taken);
      return amount(taken, given.size());
    });
    stage.quiet();
    act(client);
    stage.quiet();
    stage.resume(server);
    stage.quiet();
    if (halfOpen) {
      stage.resume(client);
      stage.quiet();
      stage.end(server);
      stage.quiet();
    }
    stage.note(server, "received everything that was accepted", received == accepted);
  };
  plays("end", false, [&](const std::string& who) { stage.end(who); });
  plays("shutdown", true, [&](const std::string& who) { stage.shutdown(who); });
  stage.conforms();
}

// --- peers -------------------------------------------------------------------------------------------

SCENARIO_TEST("peer-fin", "A raw peer sends bytes and a FIN in one go") {
  Stage stage("peer-fin");
  stage.listen(stage.complete("server"));
  RawSocket raw = dial(stage);
  raw.sendAll("abc");
  raw.shutdownWrite();
  stage.reads("raw", raw);
  stage.conforms();
}

SCENARIO_TEST("peer-reset-idle", "A raw peer resets an idle connection") {
  Stage stage("peer-reset-idle");
  stage.listen(stage.complete("server"));
  RawSocket raw = dial(stage);
  stage.awaits("server", "open");
  raw.reset();
  stage.quiet();
  RawSocket listening = RawSocket::listenTcp();
  stage.connect("client", stage.complete("client"),
                {.hostname = "127.0.0.1", .port = listening.port()});
  stage.awaits("client", "open");
  listening.accept().reset();
  stage.conforms();
}

SCENARIO_TEST("peer-reset-with-data", "A raw peer sends bytes and then resets") {
  Stage stage("peer-reset-with-data");
  stage.listen(stage.complete("server", {.open = [](Actor socket) { socket.pause(); }}));
  RawSocket raw = dial(stage);
  stage.awaits("server", "open");
  raw.sendAll(Bytes(bytes(1000)));
  raw.reset();
  stage.quiet();
  stage.readyState("server", "readyState before resume");
  stage.resume("server");
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
