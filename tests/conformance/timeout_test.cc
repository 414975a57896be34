// Timeouts. A second of the scenarios is 20 ms here.
#include <chrono>
#include <limits>

#include "conformance/stage.h"

namespace warren::conformance {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr double kSecond = 20;

Duration seconds(double count) { return Milliseconds(count * kSecond); }

SCENARIO_TEST("timeout-fires",
              "timeout(1): when it fires, how often, and whether the socket closes") {
  Stage stage("timeout-fires");
  Clock::time_point armed;
  Clock::time_point fired;
  stage.pair(stage.complete("server"),
             stage.complete("client", {.timeout = [&](Actor) { fired = Clock::now(); }}));
  armed = Clock::now();
  static_cast<void>(
      stage.does("client", "timeout(1)", [&] { return stage["client"].timeout(seconds(1)); }));
  stage.pass(seconds(3));
  stage.awaits("client", "timeout");
  stage.note("client", "timeout events", stage.count("client", "timeout"));
  stage.note("client", "first after",
             fired - armed < Milliseconds(kSecond) ? "early" : "1 s or more");
  stage.readyState("client");
  stage.write("client", "alive");
  stage.quiet();
  stage.close("client");
  stage.conforms();
}

SCENARIO_TEST("timeout-granularity",
              "Timeouts of 1, 4, 5 and 8 seconds: rounded to a sweep every 4 seconds") {
  Stage stage("timeout-granularity");
  struct Group {
    std::string name;
    Json order = Json::array();
    Json early = Json::array();
  };
  Group groups[] = {{"group A (at once)"}, {"group B (3 s later)"}};
  stage.listen({.data = [](Actor, Bytes) {}});
  const auto opens = [&](Group& group) {
    std::vector<std::pair<int, Actor>> clients;
    for (const int count : {1, 4, 5, 8}) {
      const auto armed = std::make_shared<Clock::time_point>();
      const auto fires = [&group, count, armed](Actor) {
        group.order.push_back(count);
        if (Clock::now() - *armed < Milliseconds(count * kSecond)) group.early.push_back(count);
      };
      const Table table{.open = [armed](Actor) { *armed = Clock::now(); },
                        .data = [](Actor, Bytes) {},
                        .timeout = fires};
      clients.emplace_back(count, stage.connect("client", table));
    }
    stage.until([&] {
      for (const auto& [count, socket] : clients) {
        if (socket.readyState() == ReadyState::connecting) return false;
      }
      return true;
    });
    for (const auto& [count, socket] : clients) REQUIRE(socket.timeout(seconds(count)));
  };
  opens(groups[0]);
  stage.pass(seconds(3));
  opens(groups[1]);
  for (Group& group : groups) {
    stage.until([&] { return group.order.size() == 4; });
    for (const int count : {1, 4, 5, 8}) {
      const std::string what = "timeout(" + std::to_string(count) + ") fired after (s)";
      stage.note(group.name, what, group.early.empty() ? Json(count) : Json("early"));
    }
    stage.note(group.name, "order", group.order);
  }
  stage.conforms();
}

SCENARIO_TEST("timeout-zero-disables", "timeout(0) after timeout(1)") {
  Stage stage("timeout-zero-disables");
  stage.pair(stage.complete("server"), stage.complete("client"));
  const auto sets = [&](const std::string& what, double count) {
    static_cast<void>(
        stage.does("client", what, [&] { return stage["client"].timeout(seconds(count)); }));
  };
  sets("timeout(1)", 1);
  sets("timeout(0)", 0);
  stage.pass(seconds(4));
  stage.note("client", "timeout events", stage.count("client", "timeout"));
  stage.readyState("client");
  stage.conforms();
}

SCENARIO_TEST("timeout-and-activity", "Does traffic push the timeout back?") {
  Stage stage("timeout-and-activity");
  bool timedOut[3] = {};
  std::vector<Actor> servers;
  std::vector<Actor> clients;
  stage.listen(
      {.open = [&](Actor socket) { servers.push_back(socket); }, .data = [](Actor, Bytes) {}});
  for (bool& own : timedOut) {
    const Table table{.data = [](Actor, Bytes) {}, .timeout = [&own](Actor) { own = true; }};
    clients.push_back(stage.join("client", table));
    REQUIRE(clients.back().timeout(seconds(5)));
  }
  const auto end = Clock::now() + Milliseconds(14 * kSecond);
  while (Clock::now() < end) {
    static_cast<void>(clients[0].write("x"));
    static_cast<void>(servers[1].write("x"));
    stage.pass(seconds(0.5));
  }
  stage.note("A (client writes)", "timed out", timedOut[0]);
  stage.note("B (client receives)", "timed out", timedOut[1]);
  stage.note("C (idle)", "timed out", timedOut[2]);
  stage.conforms();
}

SCENARIO_TEST("timeout-no-handler", "timeout without a timeout handler") {
  Stage stage("timeout-no-handler");
  Table client = stage.complete("client");
  client.timeout = {};
  stage.pair(stage.complete("server"), client);
  static_cast<void>(
      stage.does("client", "timeout(1)", [&] { return stage["client"].timeout(seconds(1)); }));
  stage.pass(seconds(4));
  stage.readyState("client");
  stage.readyState("server");
  stage.conforms();
}

SCENARIO_TEST("timeout-bad-values", "Values that are not a sensible number of seconds") {
  Stage stage("timeout-bad-values");
  struct Value {
    std::string name;
    double count;
    bool fired = false;
  };
  Value values[] = {{"-1", -1},
                    {"0.4", 0.4},
                    {"1.5", 1.5},
                    {"NaN", std::numeric_limits<double>::quiet_NaN()},
                    {"Infinity", std::numeric_limits<double>::infinity()},
                    {"1e9", 1e9}};
  stage.listen({.data = [](Actor, Bytes) {}});
  for (Value& value : values) {
    const Table table{.data = [](Actor, Bytes) {}, .timeout = [&](Actor) { value.fired = true; }};
    const Actor client = stage.join("client", table);
    static_cast<void>(stage.does("client", "timeout(" + value.name + ")",
                                 [&] { return client.timeout(seconds(value.count)); }));
  }
  stage.pass(seconds(5));
  for (const Value& value : values) {
    stage.note("client", "timeout(" + value.name + ") fired", value.fired);
  }
  stage.conforms();
}

}  // namespace
}  // namespace warren::conformance
