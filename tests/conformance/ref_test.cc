// What keeps run() going: the life of a process that does nothing else.
#include "conformance/stage.h"

namespace warren::conformance {
namespace {

struct Program {
  Reactor reactor;
  Listener<> listener;
  Socket<> client;
  Socket<> server;
  Json out = Json::array();

  void listens() {
    listener =
        reactor
            .listen({.hostname = "127.0.0.1",
                     .port = 0,
                     .socket = {.open = [this](auto socket) { server = socket; },
                                .data = [this](auto, Bytes) { out.push_back("data"); },
                                .close = [this](auto, const Error&) { out.push_back("close"); }}})
            .value();
  }

  void connects() {
    client =
        reactor
            .connect({.hostname = "127.0.0.1",
                      .port = listener.port(),
                      .socket = {
                          .data = [this](auto, Bytes) { out.push_back("client data"); },
                          .close = [this](auto, const Error&) { out.push_back("client close"); }}})
            .value();
    test::runUntil(reactor, [this] {
      return client.readyState() == ReadyState::open && server.readyState() == ReadyState::open;
    });
  }
};

// Plays `act` and then runs; a program that has not ended by itself soon is still running.
void plays(const char* scenario, const std::function<void(Program&)>& act) {
  constexpr int kStillRunning = 99;
  Stage stage(scenario);
  Program program;
  program.listens();
  act(program);
  const Result<Timer> watch = program.reactor.after(std::chrono::milliseconds(60),
                                                    [&] { program.reactor.stop(kStillRunning); });
  watch->unref();
  const int status = program.reactor.run();
  const Json exit = status == kStillRunning ? Json("still running") : Json(status);
  stage.line("child", "exit " + exit.dump() + " after " + program.out.dump());
  stage.conforms();
}

SCENARIO_TEST("ref-listener", "Process life: a listening listener keeps the process alive") {
  plays("ref-listener", [](Program&) {});
}

SCENARIO_TEST("ref-listener-unref",
              "Process life: after unref() of the listener the process ends") {
  plays("ref-listener-unref", [](Program& program) { program.listener.unref(); });
}

SCENARIO_TEST("ref-listener-ref-twice-unref",
              "Process life: ref() twice, then unref() once (is it counted?)") {
  plays("ref-listener-ref-twice-unref", [](Program& program) {
    program.listener.ref();
    program.listener.ref();
    program.listener.unref();
  });
}

SCENARIO_TEST("ref-stopped", "Process life: a stopped listener does not keep the process alive") {
  plays("ref-stopped", [](Program& program) { program.listener.stop(); });
}

SCENARIO_TEST(
    "ref-stopped-with-connection",
    "Process life: stop() with an open connection: the connection keeps the process alive") {
  plays("ref-stopped-with-connection", [](Program& program) {
    program.connects();
    program.listener.stop();
  });
}

SCENARIO_TEST("ref-stop-true-with-connection",
              "Process life: stop(true) with an open connection: the process ends") {
  plays("ref-stop-true-with-connection", [](Program& program) {
    program.connects();
    program.listener.stop(true);
  });
}

SCENARIO_TEST("ref-client-unref-listener-unref",
              "Process life: client and listener unref'ed, the server-side socket not") {
  plays("ref-client-unref-listener-unref", [](Program& program) {
    program.connects();
    program.listener.unref();
    program.client.unref();
  });
}

SCENARIO_TEST("ref-unref-connection-events",
              "Process life: everything unref'ed, with one write pending delivery") {
  plays("ref-unref-connection-events", [](Program& program) {
    program.connects();
    program.listener.unref();
    program.server.unref();
    REQUIRE(program.client.write("x") == 1);
    program.client.unref();
  });
}

}  // namespace
}  // namespace warren::conformance
