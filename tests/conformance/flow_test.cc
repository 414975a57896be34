// pause, resume and stop.
#include "conformance/stage.h"

namespace warren::conformance {
namespace {

using test::RawSocket;

// --- pause -------------------------------------------------------------------------------------------

SCENARIO_TEST("pause-resume", "Input is held back while paused") {
  Stage stage("pause-resume");
  uint64_t received = 0;
  stage.pair(stage.complete("server", {.data =
                                           [&](Actor, Bytes some) {
                                             if (received == 0) stage.pause("server");
                                             received += some.size();
                                           }}),
             stage.complete("client"));
  REQUIRE(stage["client"].write("a") == 1);
  stage.quiet();
  stage.write("client", "bc");
  stage.quiet();
  stage.note("server", "bytes while paused", received);
  stage.resume("server");
  stage.quiet();
  stage.pause("server");
  stage.pause("server");
  stage.resume("server");
  stage.resume("server");
  stage.write("client", "d");
  stage.quiet();
  stage["client"].close();
  stage.conforms();
}

SCENARIO_TEST("pause-spurious-drain", "drain events caused by pause and resume") {
  Stage stage("pause-spurious-drain");
  stage.pair(stage.complete("server"), stage.complete("client"));
  stage.pause("server");
  stage.quiet();
  stage.resume("server");
  stage.quiet();
  stage.conforms();
}

SCENARIO_TEST("pause-peer-ends", "The peer writes and ends while we are paused") {
  Stage stage("pause-peer-ends");
  stage.pair(stage.complete("server", {.open = [](Actor socket) { socket.pause(); }}),
             stage.complete("client"));
  stage.end("client", "bye");
  stage.quiet();
  stage.note("server", "after 150 ms paused");
  stage.resume("server");
  stage.conforms();
}

SCENARIO_TEST("pause-peer-shuts-down",
              "The peer shuts down only its write side while we are paused") {
  Stage stage("pause-peer-shuts-down");
  const auto plays = [&](const std::string& who, bool halfOpen) {
    const Host host =
        stage.listen(stage.complete(who, {.open = [](Actor socket) { socket.pause(); }}),
                     {.allowHalfOpen = halfOpen});
    RawSocket raw = RawSocket::connectTcp(static_cast<uint16_t>(host.port()));
    stage.awaits(who, "open");
    raw.sendAll("bye");
    raw.shutdownWrite();
    stage.quiet();
    stage.note(who, "after 150 ms paused");
    stage.resume(who);
    stage.quiet();
    stage.readyState(who);
    if (halfOpen) stage.end(who);
    stage.reads("raw/" + who, raw);
  };
  plays("server", false);
  plays("server(half-open)", true);
  stage.conforms();
}

// --- stop --------------------------------------------------------------------------------------------

void dialsAgain(Stage& stage) {
  stage.promise("client2");
  Table table = stage.complete("client2");
  static_cast<void>(stage.connects(
      "client2", "connect()",
      {.hostname = "127.0.0.1", .port = stage.host().port(), .socket = std::move(table)}));
  stage.awaits("client2", "promise");
}

SCENARIO_TEST("stop-keeps-connections", "stop() with an active connection") {
  Stage stage("stop-keeps-connections");
  const Host host =
      stage.pair(stage.complete("server", {.data =
                                               [&](Actor socket, Bytes chunk) {
                                                 stage.does("server", "write(chunk)",
                                                            [&] { return socket.write(chunk); });
                                               }}),
                 stage.complete("client"));
  stage.does("listener", "stop()", [&] { host.stop(); });
  stage.write("client", "still");
  stage.quiet();
  dialsAgain(stage);
  stage.close("client");
  stage.conforms();
}

SCENARIO_TEST("stop-closes-connections", "stop(true) with an active connection") {
  Stage stage("stop-closes-connections");
  const Host host = stage.pair(stage.complete("server"), stage.complete("client"));
  stage.does("listener", "stop(true)", [&] { host.stop(true); });
  stage.note("listener", "after the call");
  stage.write("server", "x");
  stage.quiet();
  dialsAgain(stage);
  stage.conforms();
}

SCENARIO_TEST("stop-twice", "stop() after stop(), and stop(true) after stop()") {
  Stage stage("stop-twice");
  const Host host = stage.pair(stage.complete("server"), stage.complete("client"));
  stage.does("listener", "stop()", [&] { host.stop(); });
  stage.does("listener", "stop()", [&] { host.stop(); });
  stage.does("listener", "stop(true)", [&] { host.stop(true); });
  stage.quiet();
  stage.readyState("server");
  stage.note("listener", "hostname", host.hostname());
  stage.does("listener", "ref()", [&] { host.ref(); });
  stage.does("listener", "unref()", [&] { host.unref(); });
  static_cast<void>(stage.does("listener", "reload({socket: table})",
                               [&] { return host.reload(stage.complete("server")); }));
  stage.conforms();
}

SCENARIO_TEST("stop-in-open", "stop() and stop(true) inside the server's open handler") {
  Stage stage("stop-in-open");
  const auto plays = [&](const std::string& how, bool closeActive) {
    const std::string client = "client/" + how;
    Host host;
    const Table server =
        stage.complete("server/" + how, {.open = [&](Actor) {
                         stage.does("listener/" + how, how, [&] { host.stop(closeActive); });
                       }});
    host = stage.listen(server);
    stage.connect(client, stage.complete(client));
    stage.awaits(client, "open");
    stage.write(client, "x");
    stage.quiet();
    stage[client].close();
    stage.quiet();
  };
  plays("stop()", false);
  plays("stop(true)", true);
  stage.conforms();
}

SCENARIO_TEST("stop-pending-accept", "stop() in the same turn as a connect") {
  Stage stage("stop-pending-accept");
  stage.promise("client");
  const Host host = stage.listen(stage.complete("server"));
  stage.connect("client", stage.complete("client"));
  stage.does("listener", "stop()", [&] { host.stop(); });
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
