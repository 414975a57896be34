// close, shutdown and terminate.
#include "conformance/stage.h"

namespace warren::conformance {
namespace {

using test::RawSocket;
using test::TempDir;

// --- close -------------------------------------------------------------------------------------------

SCENARIO_TEST("unix-closing",
              "Closing on unix sockets: end, close, terminate, close with unread input") {
  const TempDir directory;
  Stage stage("unix-closing");
  int number = 0;
  const auto plays = [&](const std::string& way, std::function<void(const std::string&)> act,
                         bool unread = false) {
    const std::string client = "client/" + way;
    const std::string server = "server/" + way;
    Table serverThen;
    Table clientThen;
    if (unread) {
      serverThen.open = [](Actor socket) { REQUIRE(socket.write(Bytes(bytes(1000))) == 1000); };
      clientThen.open = [](Actor socket) { socket.pause(); };
    }
    stage.listen(stage.complete(server, serverThen),
                 {.unix = directory.path(std::to_string(++number))});
    stage.join(client, stage.complete(client, clientThen));
    act(client);
    stage.awaits(server, "close");
  };
  plays("end", [&](const std::string& who) { stage.end(who, "bye"); });
  plays("close", [&](const std::string& who) { stage.close(who); });
  plays("terminate", [&](const std::string& who) { stage.terminate(who); });
  plays(
      "close with unread input", [&](const std::string& who) { stage.close(who); }, true);
  stage.conforms();
}

SCENARIO_TEST("close-plain", "close() with nothing pending") {
  Stage stage("close-plain");
  stage.pair(stage.complete("server"), stage.complete("client"));
  stage.close("client");
  stage.note("client", "after the call");
  stage.close("client");
  stage.conforms();
}

SCENARIO_TEST("close-in-data", "close() inside the data handler with more input waiting") {
  Stage stage("close-in-data");
  stage.recording().folding.totals["server"] = [](uint64_t) { return "(one chunk)"; };
  int events = 0;
  stage.pair(stage.complete("server", {.open = [](Actor socket) { socket.pause(); },
                                       .data =
                                           [&](Actor, Bytes) {
                                             ++events;
                                             stage.close("server");
                                           }}),
             stage.complete("client"));
  const Bytes given = bytes(700 << 10);
  stage.does("client", "write(700 KiB)",
             [&] { return amount(stage["client"].write(given), given.size()); });
  stage.quiet();
  stage.resume("server");
  stage.quiet();
  stage.note("server", "data events", events);
  stage.conforms();
}

SCENARIO_TEST("close-both-at-once", "Both sides close in the same turn") {
  Stage stage("close-both-at-once");
  const auto plays = [&](const std::string& way, std::function<void(const std::string&)> act) {
    stage.listen(stage.complete("server/" + way));
    stage.join("client/" + way, stage.complete("client/" + way));
    act("client/" + way);
    act("server/" + way);
    stage.quiet();
  };
  plays("close", [&](const std::string& who) { stage.close(who); });
  plays("end", [&](const std::string& who) { stage.end(who, "x"); });
  stage.conforms();
}

SCENARIO_TEST("dispose", "Scope-bound disposal of a socket and of a listener") {
  Stage stage("dispose");
  const Host host = stage.pair(stage.complete("server#"), stage.complete("client"));
  // Handles own nothing; a user's guard would call these at the end of a scope.
  stage.does("client", "dispose", [&] { return stage["client"].end(); });
  stage.quiet();
  stage.join("client2", stage.complete("client2"));
  stage.does("listener", "dispose", [&] { host.stop(true); });
  stage.quiet();
  static_cast<void>(stage.connects(
      "client3", "connect()",
      {.hostname = "127.0.0.1", .port = host.port(), .socket = stage.completion("client3")}));
  stage.conforms();
}

// --- shutdown ----------------------------------------------------------------------------------------

void saysGoodbye(const char* scenario, bool serverHalfOpen, bool clientHalfOpen) {
  Stage stage(scenario);
  stage.pair(stage.complete("server", {.end = [&](Actor) { stage.write("server", "late"); }}),
             stage.complete("client"), {.allowHalfOpen = serverHalfOpen},
             {.allowHalfOpen = clientHalfOpen});
  stage.write("client", "bye");
  stage.shutdown("client");
  stage.readyState("client");
  stage.write("client", "x");
  stage.awaits("server", "end");
  stage.write("server", "later");
  stage.quiet();
  stage.end("server");
  stage.conforms();
}

SCENARIO_TEST("shutdown-default",
              "shutdown() from the client; half-open not allowed on the server and not allowed on "
              "the client") {
  saysGoodbye("shutdown-default", false, false);
}

SCENARIO_TEST("shutdown-client-half-open",
              "shutdown() from the client; half-open not allowed on the server and allowed on the "
              "client") {
  saysGoodbye("shutdown-client-half-open", false, true);
}

SCENARIO_TEST("shutdown-both-half-open",
              "shutdown() from the client; half-open allowed on the server and allowed on the "
              "client") {
  saysGoodbye("shutdown-both-half-open", true, true);
}

SCENARIO_TEST("shutdown-read-side", "shutdown(true)") {
  Stage stage("shutdown-read-side");
  stage.pair(
      stage.complete("server", {.data = [&](Actor, Bytes) { stage.write("server", "reply"); }}),
      stage.complete("client"));
  stage.does("client", "shutdown(true)", [&] { stage["client"].shutdown(Side::read); });
  stage.readyState("client");
  stage.write("client", "still");
  stage.quiet();
  stage.readyState("client");
  stage.end("client");
  stage.conforms();
}

SCENARIO_TEST("shutdown-twice", "shutdown() twice, then end()") {
  Stage stage("shutdown-twice");
  stage.pair(stage.complete("server"), stage.complete("client"), {.allowHalfOpen = true},
             {.allowHalfOpen = true});
  stage.shutdown("client");
  stage.shutdown("client");
  stage.write("client", "x");
  stage.end("client", "y");
  stage.quiet();
  stage.end("server");
  stage.conforms();
}

// --- terminate ---------------------------------------------------------------------------------------

SCENARIO_TEST("terminate-plain", "terminate(): what the peer sees") {
  Stage stage("terminate-plain");
  stage.pair(stage.complete("server"), stage.complete("client"));
  stage.terminate("client");
  stage.note("client", "after the call");
  stage.conforms();
}

SCENARIO_TEST("terminate-in-server-open", "The server terminates each connection inside open") {
  Stage stage("terminate-in-server-open");
  stage.promise("client");
  const Host host =
      stage.listen(stage.complete("server", {.open = [&](Actor) { stage.terminate("server"); }}));
  static_cast<void>(stage.connects(
      "client", "connect()",
      {.hostname = "127.0.0.1", .port = host.port(), .socket = stage.complete("client")}));
  stage.conforms();
}

SCENARIO_TEST("terminate-backpressured", "terminate() while accepted bytes are still unsent") {
  Stage stage("terminate-backpressured");
  const auto plays = [&](const std::string& way, std::function<void(const std::string&)> act) {
    const std::string who = "client/" + way;
    RawSocket listening = RawSocket::listenTcp();
    listening.setSmallBuffers(4096, 4096);
    stage.connect(who, stage.complete(who), {.hostname = "127.0.0.1", .port = listening.port()});
    stage.awaits(who, "open");
    RawSocket raw = listening.accept();
    const Bytes given = bytes(8 * kMiB);
    std::ptrdiff_t taken = 0;
    stage.does(who, "write(8 MiB)", [&] {
      taken = stage[who].write(given);
      return amount(taken, given.size());
    });
    act(who);
    stage.quiet();
    size_t count = 0;
    std::string then = "eof";
    try {
      stage.until([&] {
        for (std::string some; !(some = raw.readSome()).empty();) count += some.size();
        return raw.ended();
      });
    } catch (const std::system_error& error) {
      then = error.code().value() == ECONNRESET ? "ECONNRESET" : error.what();
    }
    const Json reads{{"gotAllAcceptedBytes", count == static_cast<size_t>(taken)}, {"then", then}};
    stage.line("raw/" + way, "reads " + reads.dump());
  };
  plays("terminate", [&](const std::string& who) { stage.terminate(who); });
  plays("close", [&](const std::string& who) { stage.close(who); });
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
