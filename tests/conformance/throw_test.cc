// Handlers that throw, and what handlers return.
#include <functional>
#include <stdexcept>

#include "conformance/stage.h"

#if WARREN_LIBRARY_EXCEPTIONS

namespace warren::conformance {
namespace {

[[noreturn]] void boom() { throw std::runtime_error("boom"); }

// The client writes "1", then "2", then closes.
void plays(Stage& stage, Table server) {
  stage.pair(stage.complete("server", std::move(server)), stage.complete("client"));
  stage.write("client", "1");
  stage.quiet();
  stage.write("client", "2");
  stage.quiet();
  stage.close("client");
  stage.conforms();
}

SCENARIO_TEST("throw-in-open", "The server's open handler throws") {
  Stage stage("throw-in-open");
  plays(stage, {.open = [](Actor) { boom(); }});
}

SCENARIO_TEST("throw-in-data", "The server's data handler throws") {
  Stage stage("throw-in-data");
  plays(stage, {.data = [](Actor, Bytes) { boom(); }});
}

SCENARIO_TEST("throw-in-close", "The server's close handler throws") {
  Stage stage("throw-in-close");
  plays(stage, {.close = [](Actor, const Error&) { boom(); }});
}

SCENARIO_TEST("throw-in-error-handler", "The error handler throws too") {
  Stage stage("throw-in-error-handler");
  stage.uncaught = [&](const std::exception& thrown) {
    stage.line("process", "uncaught exception " + Json(thrown.what()).dump());
  };
  plays(stage, {.data = [](Actor, Bytes) { boom(); },
                .error = [](Actor, const Error&) { throw std::runtime_error("bang"); }});
}

SCENARIO_TEST("throw-in-client-data", "The client's data handler throws") {
  Stage stage("throw-in-client-data");
  stage.pair(stage.complete("server"),
             stage.complete("client", {.data = [](Actor, Bytes) { boom(); }}));
  stage.write("server", "1");
  stage.quiet();
  stage.write("server", "2");
  stage.conforms();
}

// A program of its own, up to its exit status: `main` reports what leaves run(), goes on, and fails in
// the end; or hands it to a hook.
SCENARIO_TEST("throw-no-error-handler", "A throwing handler and no error handler") {
  Stage stage("throw-no-error-handler");
  const auto runs = [&](const std::string& who, bool hook) {
    Reactor reactor;
    Json out = Json::array();
    bool reported = false;
    const auto prints = [&](const std::string& text) { out.push_back(text); };
    int steps = 0;
    std::function<void()> next;
    // In a later turn: what a handler threw leaves run() at the end of its turn.
    const auto goesOn = [&] {
      REQUIRE(reactor.after(std::chrono::milliseconds(5), [&] { next(); }));
    };
    SocketHandlers<> server{.open =
                                [&](auto) {
                                  prints("server open");
                                  goesOn();
                                },
                            .data =
                                [&](auto, Bytes bytes) {
                                  prints("server data " + std::string(asText(bytes)));
                                  goesOn();
                                  boom();
                                },
                            // The second program also prints the error, and there is none.
                            .close =
                                [&](auto, const Error& error) {
                                  prints(hook ? "server close " + error.message() : "server close");
                                }};
    SocketHandlers<> table{.open = [&](auto) { goesOn(); }, .data = [](auto, Bytes) {}};
    if (hook) {
      table.end = [&](auto) { prints("client end"); };
      table.close = [&](auto, const Error&) { prints("client close"); };
    }
    const auto listener =
        reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = server}).value();
    const auto client =
        reactor.connect({.hostname = "127.0.0.1", .port = listener.port(), .socket = table})
            .value();
    const auto writes = [&](const char* text) {
      prints("write " + std::to_string(client.write(text)));
    };
    next = [&] {
      ++steps;
      if (steps == 2) writes("1");  // both are open
      if (steps == 3) writes("2");
      if (steps == 4) listener.stop(true);
    };
    for (bool again = true; again;) {
      again = false;
      try {
        reactor.run();
      } catch (const std::runtime_error& thrown) {
        again = true;
        if (hook) {
          prints("uncaught " + std::string(thrown.what()));
        } else {
          reported = std::string(thrown.what()) == "boom";
        }
      }
    }
    stage.line(who, "exit " + std::to_string(reported ? 1 : 0) + " after " + out.dump() +
                        (reported ? ", reported" : ", not reported"));
  };
  runs("child", false);
  runs("child with hook", true);
  stage.conforms();
}

SCENARIO_TEST("handler-returns-error", "A handler returns an error value instead of throwing") {
  Stage stage("handler-returns-error");
  const auto plays = [&](const std::string& what, Handler<Context, Bytes> data) {
    const std::string client = "client/" + what;
    stage.listen(stage.complete("server/" + what, {.data = std::move(data)}));
    stage.join(client, stage.complete(client));
    REQUIRE(stage[client].write("1") == 1);
    stage.quiet();
    stage.write(client, "2");
    stage.quiet();
    stage[client].close();
    stage.quiet();
  };
  plays("error value", [](Actor, Bytes) { return Error(Usage::invalid, Step::none, "returned"); });
  plays("number", [](Actor, Bytes) { return 5; });
  stage.conforms();
}

SCENARIO_TEST("open-returns-error",
              "The client's open handler returns an error value, or a rejected promise") {
  Stage stage("open-returns-error");
  const std::string client = "client/error value";
  stage.promise(client);
  const Host host = stage.listen(stage.complete("server/error value"));
  Table table = stage.complete(client);
  table.open = [open = table.open](Actor socket) {
    open(socket);
    return Error(Usage::invalid, Step::none, "returned");
  };
  static_cast<void>(stage.connects(
      client, "connect()", {.hostname = "127.0.0.1", .port = host.port(), .socket = table}));
  stage.awaits(client, "promise");
  stage.write(client, "x");
  stage.quiet();
  stage[client].close();
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance

#endif
