#include "warren/reactor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "os/platform.h"
#include "support/aborts.h"
#include "support/catch.h"
#include "support/net.h"
#include "support/recorder.h"
#include "warren/array_buffer_sink.h"

namespace warren {
namespace {

using namespace std::chrono_literals;
using test::Lines;
using test::RawSocket;
using test::Recorder;
using test::runUntil;

using Clock = std::chrono::steady_clock;

SocketHandlers<> sink() {
  return {.data = [](auto, Bytes) {}};
}

// --- run, step, stop ---------------------------------------------------------------------------------

TEST_CASE("run returns at once when nothing keeps the reactor going") {
  Reactor reactor;
  REQUIRE(reactor.run() == 0);
  REQUIRE(reactor.run() == 0);
  REQUIRE_FALSE(reactor.step());
}

TEST_CASE("run returns when the last of listeners, sockets, timers and functions is gone") {
  Reactor reactor;
  Recorder events;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  REQUIRE(reactor.after(1ms, [&] {
    events.note("timer", "fired");
    reactor.post([&] {
      events.note("posted", "ran");
      reactor
          .connect({.hostname = "127.0.0.1",
                    .port = listener.port(),
                    .socket = {.open =
                                   [&](auto socket) {
                                     socket.end();
                                     reactor.defer([&] { listener.stop(); });
                                   },
                               .data = [](auto, Bytes) {}}})
          .value();
    });
  }));
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.has("timer fired"));
  REQUIRE(events.has("posted ran"));
  REQUIRE(reactor.stats().timersFired >= 1);
}

TEST_CASE("stop ends run after the turn under way, with its code, and run may be called again") {
  Reactor reactor;
  int turns = 0;
  REQUIRE(reactor.every(1ms, [&] {
    ++turns;
    reactor.stop(turns);
    reactor.defer([&] { turns += 10; });
  }));
  REQUIRE(reactor.run() == 1);
  REQUIRE(turns == 11);
  REQUIRE(reactor.run() == 12);
  REQUIRE(turns == 22);
}

TEST_CASE("a stop before run makes it return without a turn") {
  Reactor reactor;
  bool ran = false;
  reactor.post([&] { ran = true; });
  reactor.stop(3);
  REQUIRE(reactor.run() == 3);
  REQUIRE_FALSE(ran);
  REQUIRE(reactor.run() == 0);
  REQUIRE(ran);
}

TEST_CASE("step waits no longer than its patience") {
  Reactor reactor;
  auto listener = reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value();
  const auto begin = Clock::now();
  REQUIRE(reactor.step());
  REQUIRE(reactor.step(20ms));
  const auto took = Clock::now() - begin;
  REQUIRE(took >= 20ms);
  REQUIRE(took < 5s);
  REQUIRE(reactor.step(-1ms));  // means nothing, so it does not wait
  listener.stop();
  REQUIRE_FALSE(reactor.step());
}

TEST_CASE("run and step do nothing in a handler that a verb has called outside of run") {
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  bool closed = false;
  auto socket = reactor
                    .connect<>({.hostname = "127.0.0.1",
                                .port = listener.port(),
                                .socket = {.data = [](Socket<>, Bytes) {},
                                           .close =
                                               [&](Socket<>, const Error&) {
                                                 const uint64_t turns = reactor.stats().turns;
                                                 REQUIRE(reactor.step());
                                                 REQUIRE(reactor.run() == 0);
                                                 REQUIRE(reactor.stats().turns == turns);
                                                 closed = true;
                                               }}})
                    .value();
  RawSocket peer = listener.accept();
  runUntil(reactor, [&] { return socket.readyState() == ReadyState::open; });
  REQUIRE(socket.write("x") == 1);
  socket.close();
  REQUIRE(closed);
  reactor.step();
  REQUIRE(peer.readAll() == "x");
  peer.close();
  REQUIRE(reactor.run() == 0);
}

TEST_CASE("run and step inside a handler do nothing") {
  Reactor reactor;
  std::vector<int> answers;
  uint64_t turns = 0;
  REQUIRE(reactor.after(1ms, [&] {
    turns = reactor.stats().turns;
    answers.push_back(reactor.run());
    answers.push_back(reactor.step(1h));
    REQUIRE(reactor.stats().turns == turns);
  }));
  reactor.post([&] { reactor.run(); });
  REQUIRE(reactor.run() == 0);
  REQUIRE(answers.size() == 2);
  REQUIRE(answers[0] == 0);
}

TEST_CASE("a reactor can be moved, with its sockets, while it is not running") {
  Recorder events;
  std::optional<Reactor> first(std::in_place);
  auto listener =
      first->listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  Reactor second(std::move(*first));
  first.reset();
  RawSocket client = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  client.sendAll("hello");
  runUntil(second, [&] { return events.has("server data hello"); });
}

TEST_CASE(
    "destroying a reactor calls no handler, destroys every Data and closes every descriptor") {
  const size_t descriptors = test::openDescriptors();
  const auto shared = std::make_shared<int>(1);
  Recorder events;
  {
    Reactor reactor;
    using Data = std::shared_ptr<int>;
    auto listener = reactor
                        .listen<Data>({.hostname = "127.0.0.1",
                                       .port = 0,
                                       .socket = events.handlers<Data>("server"),
                                       .data = shared})
                        .value();
    auto dialed = reactor
                      .connect<Data>({.hostname = "127.0.0.1",
                                      .port = listener.port(),
                                      .socket = events.handlers<Data>("client"),
                                      .data = shared})
                      .value();
    auto connecting = reactor
                          .connect<Data>({.hostname = "127.0.0.1",
                                          .port = listener.port(),
                                          .socket = events.handlers<Data>("second"),
                                          .data = shared})
                          .value();
    runUntil(reactor, [&] { return events.has("client open") && events.has("server open"); });
    REQUIRE(dialed.timeout(1h));
    dialed.send(std::string(1 << 20, 'x'));
    REQUIRE(reactor.after(1h, [shared] {}));
    reactor.post([shared] {});
    reactor.defer([shared] {});
    static_cast<void>(connecting);
    REQUIRE(shared.use_count() > 5);
  }
  REQUIRE(shared.use_count() == 1);
  REQUIRE_FALSE(events.has("client close"));
  REQUIRE_FALSE(events.has("server close"));
  REQUIRE(test::openDescriptors() == descriptors);
}

TEST_CASE("what the destructors of user data call while a reactor dies does nothing") {
  struct Meddler {
    Socket<std::shared_ptr<Meddler>> socket;
    Listener<std::shared_ptr<Meddler>> listener;
    ~Meddler() {
      static_cast<void>(socket.write("x"));
      socket.send("x");
      socket.close();
      socket.terminate();
      listener.stop(true);
    }
  };
  using Data = std::shared_ptr<Meddler>;
  int opened = 0;
  Reactor reactor;
  auto listener = reactor
                      .listen<Data>({.hostname = "127.0.0.1",
                                     .port = 0,
                                     .socket = {.open =
                                                    [&](auto socket) {
                                                      ++opened;
                                                      socket.data() = std::make_shared<Meddler>();
                                                      socket.data()->socket = socket;
                                                      socket.data()->listener = socket.listener();
                                                    },
                                                .data = [](auto, Bytes) {}}})
                      .value();
  RawSocket one = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  RawSocket two = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  runUntil(reactor, [&] { return opened == 2; });
}

TEST_CASE(
    "what is posted, deferred or started while a reactor dies is dropped, wherever it comes from") {
  struct Leaver {
    Reactor* reactor;
    explicit Leaver(Reactor& its) : reactor(&its) {}
    Leaver(const Leaver&) = delete;
    Leaver& operator=(const Leaver&) = delete;
    ~Leaver() {
      for (int i = 0; i < 9; ++i) {
        reactor->defer([kept = std::make_shared<int>(1)] {});
        reactor->post([kept = std::make_shared<int>(1)] {});
      }
      CHECK(reactor->after(1ms, [] {}).error().is(Usage::closed));
      CHECK(reactor->onSignal(SIGUSR2, [] {}).error().is(Usage::closed));
    }
  };
  std::weak_ptr<Leaver> last;
  const auto leaving = [&last](Reactor& reactor) {
    auto leaver = std::make_shared<Leaver>(reactor);
    last = leaver;
    return [leaver] {};
  };
  ReactorOptions options;
  std::shared_ptr<Leaver> resolves;
  options.resolve = [&resolves, held = std::make_shared<std::shared_ptr<Leaver>>()](
                        const std::string&, const ResolveAnswer&) { *held = resolves; };
  auto reactor = std::make_unique<Reactor>(std::move(options));
  SECTION("a deferred function") {
    reactor->defer(leaving(*reactor));
    reactor->defer([kept = std::make_shared<int>(1)] {});
  }
  SECTION("a posted function") { reactor->post(leaving(*reactor)); }
  SECTION("a timer's") { REQUIRE(reactor->after(1h, leaving(*reactor))); }
  SECTION("a signal's") { REQUIRE(reactor->onSignal(SIGUSR1, leaving(*reactor))); }
  SECTION("a table that was replaced") {
    auto listener = reactor
                        ->listen({.hostname = "127.0.0.1",
                                  .port = 0,
                                  .socket = {.data = [own = leaving(*reactor)](auto, Bytes) {}}})
                        .value();
    REQUIRE(listener.reload(sink()));
  }
  SECTION("the resolver") {
    resolves = std::make_shared<Leaver>(*reactor);
    last = resolves;
    REQUIRE(reactor->connect({.hostname = "name", .port = 1, .socket = sink()}));
    reactor->step(0ms);
    resolves.reset();
  }
  REQUIRE_FALSE(last.expired());
  reactor.reset();
  REQUIRE(last.expired());
}

TEST_CASE("options of a reactor that mean nothing are refused") {
  const auto reactor = Reactor::make({.connectStagger = -1ms});
  REQUIRE_FALSE(reactor);
  REQUIRE(reactor.error().is(Usage::outOfRange));
  REQUIRE(reactor.error().message().find("connectStagger") != std::string::npos);
#if WARREN_LIBRARY_EXCEPTIONS
  REQUIRE_THROWS_AS(Reactor({.connectStagger = -1ms}), BadResult);
#endif
  const auto huge = Reactor::make({.maxSockets = SIZE_MAX});
  REQUIRE_FALSE(huge);
  REQUIRE(huge.error().isErrno(ENOMEM));
}

// --- post and defer ----------------------------------------------------------------------------------

TEST_CASE("deferred functions run at the end of the turn, those they defer too") {
  Reactor reactor;
  std::string order;
  reactor.post([&] {
    order += "posted ";
    reactor.defer([&] {
      order += "deferred ";
      reactor.defer([&] { order += "again "; });
      reactor.post([&] { order += "later "; });
    });
    order += "goes on ";
  });
  reactor.step();
  REQUIRE(order == "posted goes on deferred again ");
  reactor.step();
  REQUIRE(order == "posted goes on deferred again later ");
}

TEST_CASE("deferred functions come after all handlers of the turn") {
  Reactor reactor;
  std::string order;
  auto listener = reactor
                      .listen({.hostname = "127.0.0.1",
                               .port = 0,
                               .socket = {.open =
                                              [&](auto) {
                                                order += "open ";
                                                reactor.defer([&] { order += "deferred "; });
                                              },
                                          .data = [](auto, Bytes) {}}})
                      .value();
  RawSocket one = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  RawSocket two = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  runUntil(reactor, [&] { return !order.empty(); });
  REQUIRE(order == "open open deferred deferred ");
}

TEST_CASE("functions that are none are left out") {
  Reactor reactor;
  reactor.post({});
  reactor.defer({});
  REQUIRE(reactor.run() == 0);
}

TEST_CASE("posting for ever does not starve sockets and timers") {
  Reactor reactor;
  int posted = 0;
  std::function<void()> again = [&] {
    ++posted;
    reactor.post([&] { again(); });
  };
  again();
  bool fired = false;
  REQUIRE(reactor.after(5ms, [&] { fired = true; }));
  runUntil(reactor, [&] { return fired; });
  REQUIRE(posted > 1);
}

// --- timers ------------------------------------------------------------------------------------------

TEST_CASE(
    "timers fire in the order of their deadlines, never early, also when set late in a turn") {
  Reactor reactor;
  std::vector<int> order;
  const auto begin = Clock::now();
  int early = 0;
  for (const int delay : {30, 10, 20, 0, 10}) {
    REQUIRE(reactor.after(std::chrono::milliseconds(delay), [&, delay] {
      order.push_back(delay);
      if (Clock::now() - begin < std::chrono::milliseconds(delay)) ++early;
    }));
  }
  REQUIRE(reactor.run() == 0);
  REQUIRE(order == std::vector{0, 10, 10, 20, 30});
  REQUIRE(early == 0);
}

TEST_CASE("a timer set by a handler that was busy for long is not early either") {
  Reactor reactor;
  Clock::time_point begin;
  Clock::time_point end;
  REQUIRE(reactor.after(1ms, [&] {
    const auto busyUntil = Clock::now() + 20ms;
    while (Clock::now() < busyUntil) {
    }
    begin = Clock::now();
    REQUIRE(reactor.after(10ms, [&] { end = Clock::now(); }));
  }));
  REQUIRE(reactor.run() == 0);
  REQUIRE(end - begin >= 10ms);
}

TEST_CASE("spans below a millisecond are rounded up") {
  Reactor reactor;
  const auto begin = Clock::now();
  REQUIRE(reactor.after(1ns, [] {}));
  REQUIRE(reactor.run() == 0);
  REQUIRE(Clock::now() - begin >= 1ms);
}

TEST_CASE("every fires again and again until it is cancelled, late ones left out") {
  Reactor reactor;
  int fired = 0;
  Timer timer;
  const auto begin = Clock::now();
  timer = reactor
              .every(5ms,
                     [&] {
                       if (++fired == 2) {  // so long that several periods pass
                         const auto busyUntil = Clock::now() + 23ms;
                         while (Clock::now() < busyUntil) {
                         }
                       }
                       if (fired == 4) timer.cancel();
                     })
              .value();
  REQUIRE(timer.active());
  REQUIRE(reactor.run() == 0);
  REQUIRE(fired == 4);
  REQUIRE_FALSE(timer.active());
  REQUIRE(Clock::now() - begin >= 10ms + 23ms);
}

TEST_CASE("a cancelled timer does not fire, whoever cancels it and when") {
  Reactor reactor;
  std::string order;
  Timer a = reactor.after(5ms, [&] { order += "a"; }).value();
  Timer second;
  Timer first = reactor
                    .after(5ms,
                           [&] {
                             order += "1";
                             second.cancel();  // due in the same turn
                             first.cancel();   // itself
                             REQUIRE_FALSE(first.active());
                           })
                    .value();
  second = reactor.after(5ms, [&] { order += "2"; }).value();
  a.cancel();
  a.cancel();
  REQUIRE_FALSE(a.active());
  REQUIRE(reactor.run() == 0);
  REQUIRE(order == "1");
  first.cancel();
  Timer().cancel();
  REQUIRE_FALSE(Timer().active());
}

TEST_CASE("a timer's function is destroyed when it has fired, and when it is cancelled") {
  Reactor reactor;
  const auto captured = std::make_shared<int>(1);
  REQUIRE(reactor.after(1ms, [captured] {}));
  Timer cancelled = reactor.after(1h, [captured] {}).value();
  REQUIRE(captured.use_count() == 3);
  cancelled.cancel();
  REQUIRE(captured.use_count() == 2);
  REQUIRE(reactor.run() == 0);
  REQUIRE(captured.use_count() == 1);
}

TEST_CASE("an unreferenced timer does not keep run going") {
  Reactor reactor;
  Timer timer = reactor.every(1h, [] {}).value();
  timer.unref();
  timer.unref();
  REQUIRE(reactor.run() == 0);
  timer.ref();
  REQUIRE(reactor.step());
  timer.cancel();
  timer.ref();
  REQUIRE(reactor.run() == 0);
}

TEST_CASE("timers that mean nothing are refused with the reason") {
  Reactor reactor;
  const auto refused = [](const Result<Timer>& timer, Usage code, const char* words) {
    REQUIRE_FALSE(timer);
    INFO(timer.error().message());
    REQUIRE(timer.error().is(code));
    REQUIRE(timer.error().message().find(words) != std::string::npos);
  };
  refused(reactor.after(-1ms, [] {}), Usage::outOfRange, "delay is below zero");
  refused(reactor.after(std::chrono::hours::max(), [] {}), Usage::outOfRange, "100 years");
  refused(reactor.after(std::chrono::duration<double>(0.0 / 0.0), [] {}), Usage::outOfRange,
          "not a number");
  refused(reactor.after(1ms, {}), Usage::missing, "function");
  refused(reactor.every(0ms, [] {}), Usage::outOfRange, "period is zero");
  refused(reactor.every(-1s, [] {}), Usage::outOfRange, "period is below zero");
  refused(reactor.every(1ms, {}), Usage::missing, "function");
  REQUIRE(reactor.run() == 0);
  REQUIRE(reactor.after(std::chrono::hours(24 * 366 * 99), [] {}));
}

TEST_CASE("ten thousand timers are set and cancelled without a trace") {
  Reactor reactor;
  std::vector<Timer> timers;
  int fired = 0;
  for (int i = 0; i < 10'000; ++i) {
    timers.push_back(reactor.after(std::chrono::milliseconds(i % 7), [&] { ++fired; }).value());
  }
  for (size_t i = 0; i < timers.size(); i += 2) timers[i].cancel();
  REQUIRE(reactor.run() == 0);
  REQUIRE(fired == 5'000);
  REQUIRE(reactor.stats().slots == 0);
}

// --- signals -----------------------------------------------------------------------------------------

TEST_CASE("a signal calls its function in the next turn, and not inside the signal") {
  Reactor reactor;
  int arrived = 0;
  REQUIRE(reactor.onSignal(SIGUSR1, [&] { ++arrived; }));
  REQUIRE(reactor.run() == 0);  // it does not keep run going
  raise(SIGUSR1);
  REQUIRE(arrived == 0);
  reactor.step();
  REQUIRE(arrived == 1);
  raise(SIGUSR1);
  raise(SIGUSR1);
  runUntil(reactor, [&] { return arrived >= 2; });
}

TEST_CASE("letting go of a signal puts back what the process did with it before") {
  static std::atomic<int> own = 0;
  own = 0;
  struct sigaction mine {};
  struct sigaction before {};
  mine.sa_handler = [](int) { ++own; };
  REQUIRE(sigaction(SIGUSR2, &mine, &before) == 0);
  int arrived = 0;
  {
    Reactor reactor;
    REQUIRE(reactor.onSignal(SIGUSR2, [&] { ++arrived; }));
    raise(SIGUSR2);
    reactor.step();
    REQUIRE(arrived == 1);
    SECTION("by an empty function") {
      REQUIRE(reactor.onSignal(SIGUSR2, {}));
      raise(SIGUSR2);
      reactor.step();
      REQUIRE(own == 1);
    }
    SECTION("by the end of the reactor") {}
  }
  raise(SIGUSR2);
  REQUIRE(arrived == 1);
  REQUIRE(own >= 1);
  REQUIRE(sigaction(SIGUSR2, &before, nullptr) == 0);
}

TEST_CASE("a second function for a signal replaces the first") {
  Reactor reactor;
  std::string order;
  REQUIRE(reactor.onSignal(SIGUSR1, [&] { order += "first"; }));
  REQUIRE(reactor.onSignal(SIGUSR1, [&] { order += "second"; }));
  raise(SIGUSR1);
  reactor.step();
  REQUIRE(order == "second");
}

TEST_CASE("a signal's function may let go of it, and stop the reactor") {
  Reactor reactor;
  REQUIRE(reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}));
  const auto captured = std::make_shared<int>(1);
  REQUIRE(reactor.onSignal(SIGUSR1, [&reactor, captured] {
    REQUIRE(reactor.onSignal(SIGUSR1, {}));
    reactor.stop(*captured);
  }));
  reactor.post([] { raise(SIGUSR1); });
  REQUIRE(reactor.run() == 1);
  REQUIRE(captured.use_count() == 1);
}

TEST_CASE("a signal belongs to one reactor at a time") {
  Reactor one;
  Reactor two;
  REQUIRE(one.onSignal(SIGUSR1, [] {}));
  const auto refused = two.onSignal(SIGUSR1, [] {});
  REQUIRE_FALSE(refused);
  REQUIRE(refused.error().is(Usage::conflict));
  REQUIRE(refused.error().message().find(std::to_string(SIGUSR1)) != std::string::npos);
  REQUIRE(two.onSignal(SIGUSR2, [] {}));
  REQUIRE(two.onSignal(SIGUSR1, {}));  // not two's to let go of
  REQUIRE_FALSE(two.onSignal(SIGUSR1, [] {}));
  REQUIRE(one.onSignal(SIGUSR1, {}));
  REQUIRE(two.onSignal(SIGUSR1, [] {}));
}

TEST_CASE("signals that cannot be caught are refused") {
  Reactor reactor;
  for (const int signal : {-1, 0, 64, 65, 1000, SIGKILL, SIGSTOP}) {
    const auto refused = reactor.onSignal(signal, [] {});
    REQUIRE_FALSE(refused);
    REQUIRE(refused.error().is(Usage::outOfRange));
    REQUIRE(refused.error().message().find(std::to_string(signal)) != std::string::npos);
    REQUIRE(reactor.onSignal(signal, {}));
  }
}

TEST_CASE(
    "a write after the peer's reset does not raise SIGPIPE, and its disposition is untouched") {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    signal(SIGPIPE, SIG_DFL);
    int code = 1;
    {
      Recorder events;
      Reactor reactor;
      Socket<> socket;
      SocketHandlers<> table = events.handlers("server");
      table.open = [&](auto opened) { socket = opened; };
      test::TempDir dir;
      reactor.listen({.unix = dir.path("s"), .socket = table}).value();
      RawSocket peer = RawSocket::connectUnix(dir.path("s"));
      runUntil(reactor, [&] { return socket.number() != 0; });
      peer.close();
      const bool refused = socket.write("x") == -1;
      socket.send("x");
      ArrayBufferSink bytes;
      const bool wrote = static_cast<bool>(bytes.write("both")) && socket.write(bytes) < 0;
      reactor.step();
      struct sigaction now {};
      sigaction(SIGPIPE, nullptr, &now);
      code = refused && wrote && now.sa_handler == SIG_DFL ? 0 : 2;
    }
    _exit(code);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));  // not killed by a signal
  REQUIRE(WEXITSTATUS(status) == 0);
}

// --- fork --------------------------------------------------------------------------------------------

TEST_CASE("a child that uses its parent's reactor is stopped with a message, the parent goes on") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  RawSocket client = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  runUntil(reactor, [&] { return events.has("server open"); });
  REQUIRE(test::abortMessage([&] { reactor.step(); }).find("child of the process") !=
          std::string::npos);
  REQUIRE(test::abortMessage([&] { reactor.run(); }).find("child of the process") !=
          std::string::npos);
  client.sendAll("hello");
  runUntil(reactor, [&] { return events.has("server data hello"); });
}

TEST_CASE("a child that lets its parent's reactor go takes nothing from the parent") {
  test::TempDir dir;
  Recorder events;
  auto reactor = std::make_unique<Reactor>();
  REQUIRE(reactor->listen({.unix = dir.path("s"), .socket = events.handlers("server")}));
  RawSocket client = RawSocket::connectUnix(dir.path("s"));
  runUntil(*reactor, [&] { return events.has("server open"); });
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    reactor.reset();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  client.sendAll("hello");
  runUntil(*reactor, [&] { return events.has("server data hello"); });
  RawSocket another = RawSocket::connectUnix(dir.path("s"));
  runUntil(*reactor, [&] { return events.count("server open") == 2; });
}

TEST_CASE("a child that lets its parent's reactor go resets none of the parent's connections") {
  Socket<> socket;
  auto table = sink();
  table.open = [&](Socket<> opened) { socket = opened; };
  auto reactor = std::make_unique<Reactor>();
  auto listener =
      reactor->listen({.hostname = "127.0.0.1", .port = 0, .socket = std::move(table)}).value();
  RawSocket client = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  runUntil(*reactor, [&] { return socket.number() != 0; });
  const std::string block(size_t{1} << 20, 'x');
  size_t sent = 0;
  for (; socket.unsentBytes() == 0; sent += block.size()) socket.send(block);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    reactor.reset();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  size_t received = 0;
  runUntil(*reactor, [&] {
    for (size_t more = 1; more > 0; received += more) more = client.readSome().size();
    return socket.unsentBytes() == 0;
  });
  reactor.reset();  // all is the kernel's, which delivers it unless the descriptor resets
  received += client.readAll().size();
  REQUIRE(received == sent);
}

TEST_CASE("a child that lets its parent's reactor go closes its copies and no file of its own") {
  const size_t before = test::openDescriptors();
  auto reactor = std::make_unique<Reactor>();
  const int queue = reactor->pollFd();
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // fork(2) does not copy a kqueue, which leaves its number to others. The emulation does copy it.
    const int own = open("/dev/null", O_RDONLY);
    if (WARREN_KQUEUE) dup2(own, queue);
    reactor.reset();
    const bool kept = fcntl(WARREN_KQUEUE ? queue : own, F_GETFD) >= 0;
    const bool closed = WARREN_KQUEUE || test::openDescriptors() == before + 1;
    _exit(kept && closed ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}

TEST_CASE("a child makes a reactor of its own and works") {
  Reactor parents;
  auto listener = parents.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value();
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    Recorder events;
    Reactor own;
    auto table = events.handlers("client");
    own.connect({.hostname = "127.0.0.1", .port = listener.port(), .socket = table}).value();
    runUntil(own, [&] { return !events.lines().empty(); });
    _exit(events.lines() == Lines{"client open"} ? 0 : 1);
  }
  int status = 0;
  runUntil(parents, [&] { return waitpid(child, &status, WNOHANG) == child; });
  REQUIRE(status == 0);
}

TEST_CASE("a child that is forked by a handler may end the program, and its parent goes on") {
  auto reactor = std::make_unique<Reactor>();
  pid_t child = -1;
  reactor->post([&] {
    child = fork();
    if (child != 0) return;
    reactor.reset();  // as exit(3) does with a static one
    _exit(0);
  });
  reactor->step();
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
}

TEST_CASE("a reactor destroyed by what dies in its turn stops the program with a message") {
  struct App {
    Reactor reactor;
  };
  const std::string message = test::abortMessage([] {
    auto app = std::make_shared<App>();
    Reactor& reactor = app->reactor;
    reactor.post([app] {});
    app.reset();
    reactor.run();
  });
  REQUIRE(message.find("died in its turn") != std::string::npos);
}

TEST_CASE("a reactor destroyed by one of its own handlers stops the program with a message") {
  const std::string message = test::abortMessage([] {
    auto reactor = std::make_unique<Reactor>();
    reactor->post([&] { reactor.reset(); });
    reactor->run();
  });
  REQUIRE(message.find("destroyed by one of its own handlers") != std::string::npos);
}

// --- embedding ---------------------------------------------------------------------------------------

TEST_CASE("poll(2) on pollFd with nextDeadline drives a reactor") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  const auto waitAndStep = [&] {
    const auto deadline = reactor.nextDeadline();
    pollfd waiting{.fd = reactor.pollFd(), .events = POLLIN, .revents = 0};
    const int count = poll(&waiting, 1, deadline ? static_cast<int>(deadline->count()) : 10'000);
    REQUIRE((count == 1 || deadline.has_value()));
    reactor.step();
  };
  REQUIRE_FALSE(reactor.nextDeadline().has_value());
  RawSocket client = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  client.sendAll("hello");
  for (int turns = 0; turns < 20 && !events.has("server data"); ++turns) waitAndStep();
  REQUIRE(events.of("server") == Lines{"open", "data hello"});

  int fired = 0;
  REQUIRE(reactor.after(20ms, [&] { ++fired; }));
  REQUIRE(reactor.nextDeadline().value() <= 21ms);
  for (int turns = 0; turns < 20 && fired == 0; ++turns) waitAndStep();
  REQUIRE(fired == 1);

  reactor.defer([&] { ++fired; });
  REQUIRE(reactor.nextDeadline().value() == 0ms);
  waitAndStep();
  REQUIRE(fired == 2);
  reactor.post([&] { ++fired; });
  waitAndStep();
  REQUIRE(fired == 3);
}

// --- stats -------------------------------------------------------------------------------------------

TEST_CASE("stats count what happened") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  auto socket = reactor
                    .connect({.hostname = "127.0.0.1",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  runUntil(reactor, [&] { return events.has("client open") && events.has("server open"); });
  Stats stats = reactor.stats();
  REQUIRE(stats.accepted == 1);
  REQUIRE(stats.opened == 2);
  REQUIRE(stats.closed == 0);
  REQUIRE(stats.sockets == 2);
  REQUIRE(stats.slots == 3);  // the listener has one too
  REQUIRE(stats.memoryBytes > 0);
  REQUIRE(stats.turns > 0);
  REQUIRE(stats.events > 0);

  socket.end("hello");
  runUntil(reactor, [&] { return events.has("server close") && events.has("client close"); });
  reactor.step();
  stats = reactor.stats();
  REQUIRE(stats.closed == 2);
  REQUIRE(stats.bytesRead == 5);
  REQUIRE(stats.bytesWritten == 5);
  REQUIRE(stats.writes == 1);
  REQUIRE(stats.reads >= 3);
  REQUIRE(stats.shortWrites == 0);
  REQUIRE(stats.drains == 0);
  REQUIRE(stats.sockets == 0);
  REQUIRE(stats.slots == 1);
}

TEST_CASE("stats keep the bytes of a dialed socket that is gone") {
  Recorder events;
  Reactor reactor;
  RawSocket listener = RawSocket::listenTcp();
  auto socket = reactor
                    .connect({.hostname = "127.0.0.1",
                              .port = listener.port(),
                              .socket = events.handlers("client")})
                    .value();
  RawSocket server = listener.accept();
  server.sendAll("hello");
  runUntil(reactor, [&] { return events.has("client data hello"); });
  socket.end("bye");
  std::string back;
  runUntil(reactor, [&] { return (back += server.readSome()) == "bye"; });
  server.close();
  runUntil(reactor, [&] { return reactor.stats().slots == 0; });
  REQUIRE(reactor.stats().bytesRead == 5);
  REQUIRE(reactor.stats().bytesWritten == 3);
}

TEST_CASE("an idle reactor does nothing") {
  Reactor reactor;
  auto listener = reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value();
  RawSocket client = RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
  runUntil(reactor, [&] { return listener.connectionCount() == 1; });
  reactor.step();
  const Stats before = reactor.stats();
  reactor.step(20ms);
  const Stats after = reactor.stats();
  REQUIRE(after.events == before.events);
  REQUIRE(after.reads == before.reads);
  REQUIRE(after.readyRuns == before.readyRuns);
}

// --- threads -----------------------------------------------------------------------------------------

#if WARREN_THREADS

#if defined(__SANITIZE_THREAD__)
constexpr int kPosts = 10'000;
#elif defined(__SANITIZE_ADDRESS__)
constexpr int kPosts = 50'000;
#else
constexpr int kPosts = 125'000;
#endif

TEST_CASE("eight threads post a million functions, each in its own order", "[threads]") {
  constexpr size_t kThreads = 8;
  Reactor reactor;
  std::array<int, kThreads> next{};
  int disordered = 0;
  size_t finished = 0;
  REQUIRE(reactor.every(1h, [] {}));
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int number = 0; number < kPosts; ++number) {
        reactor.post([&, thread, number] {
          if (next[thread] != number) ++disordered;
          next[thread] = number + 1;
          if (number + 1 == kPosts && ++finished == kThreads) reactor.stop(1);
        });
      }
    });
  }
  REQUIRE(reactor.run() == 1);
  for (std::thread& thread : threads) thread.join();
  REQUIRE(disordered == 0);
  for (const int count : next) REQUIRE(count == kPosts);
}

TEST_CASE("stop from another thread ends a run that waits", "[threads]") {
  for (int round = 0; round < 100; ++round) {
    Reactor reactor;
    REQUIRE(reactor.every(1h, [] {}));
    std::thread other([&] { reactor.stop(round); });
    REQUIRE(reactor.run() == round);
    other.join();
  }
}

TEST_CASE("a post from another thread wakes a reactor that waits", "[threads]") {
  Reactor reactor;
  REQUIRE(reactor.every(1h, [] {}));
  std::atomic<int> done = 0;
  std::thread other([&] {
    for (int round = 0; round < 200; ++round) {
      reactor.post([&] { ++done; });
      while (done <= round) std::this_thread::yield();
    }
    reactor.stop();
  });
  REQUIRE(reactor.run() == 0);
  other.join();
  REQUIRE(done == 200);
}

TEST_CASE("a reactor can be destroyed when run returns, though who stopped it may not be done",
          "[threads]") {
  const bool posts = GENERATE(false, true);
  auto reactor = std::make_unique<Reactor>();
  std::atomic<bool> inTurn = false;
  std::atomic<bool> ordered = false;
  // The order is seen in a turn that waits no more, so the wake has no part in it. `ordered` is
  // relaxed: as far as ThreadSanitizer knows, the other thread may still be inside its call.
  REQUIRE(reactor->after(0ms, [&] {
    inTurn = true;
    while (!ordered.load(std::memory_order_relaxed)) std::this_thread::yield();
  }));
  std::thread other([&, &reactor = *reactor] {
    while (!inTurn) std::this_thread::yield();
    posts ? reactor.post([&] { reactor.stop(); }) : reactor.stop();
    ordered.store(true, std::memory_order_relaxed);
  });
  reactor->run();
  reactor.reset();
  other.join();
}

TEST_CASE("many reactors in many threads serve on one address", "[threads]") {
  constexpr size_t kReactors = 4;
  constexpr int kClients = 40;
  std::array<std::atomic<Reactor*>, kReactors> reactors{};
  std::atomic<int> echoed = 0;
  Reactor dialer;
  RawSocket place = RawSocket::listenTcp();  // a port for all, free when this one is gone
  const int port = place.port();
  place.close();
  std::vector<std::thread> threads;
  for (size_t index = 0; index < kReactors; ++index) {
    threads.emplace_back([&, index] {
      Reactor reactor;
      auto listener =
          reactor.listen({.hostname = "127.0.0.1",
                          .port = port,
                          .socket = {.data = [](auto socket, Bytes bytes) { socket.send(bytes); }},
                          .reusePort = true});
      if (!listener) std::abort();
      reactors[index] = &reactor;
      reactor.run();
    });
  }
  for (const auto& reactor : reactors) {
    while (reactor.load() == nullptr) std::this_thread::yield();
  }
  for (int client = 0; client < kClients; ++client) {
    REQUIRE(dialer.connect({.hostname = "127.0.0.1",
                            .port = port,
                            .socket = {.open = [](auto socket) { socket.send("x"); },
                                       .data =
                                           [&](auto socket, Bytes) {
                                             ++echoed;
                                             socket.end();
                                           }}}));
  }
  REQUIRE(dialer.run() == 0);
  REQUIRE(echoed == kClients);
  for (const auto& reactor : reactors) reactor.load()->stop();
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("names are looked up beside the reactor, and it may go before they are found",
          "[threads]") {
  for (int round = 0; round < 20; ++round) {
    Reactor reactor;
    for (int i = 0; i < 10; ++i) {
      REQUIRE(reactor.connect({.hostname = "no.such.host" + std::to_string(i) + ".invalid",
                               .port = 1,
                               .socket = sink()}));
    }
    for (int turns = 0; turns < round % 3; ++turns) reactor.step();
  }
}

#endif  // WARREN_THREADS

// --- what users get wrong ----------------------------------------------------------------------------

#if WARREN_LIBRARY_EXCEPTIONS

TEST_CASE("what a timer, a posted or a deferred function throws leaves run, which goes on") {
  Reactor reactor;
  int after = 0;
  const auto fails = [] { throw std::runtime_error("planned"); };
  REQUIRE(reactor.after(1ms, fails));
  REQUIRE(reactor.after(2ms, [&] { ++after; }));
  REQUIRE_THROWS_WITH(reactor.run(), "planned");
  REQUIRE(reactor.run() == 0);
  reactor.post(fails);
  reactor.post([&] { ++after; });
  REQUIRE_THROWS_WITH(reactor.run(), "planned");
  reactor.defer(fails);
  reactor.defer([&] { ++after; });
  REQUIRE_THROWS_WITH(reactor.step(), "planned");
  REQUIRE(reactor.run() == 0);
  REQUIRE(after == 3);
}

TEST_CASE("what a signal's function throws leaves run, which goes on") {
  Reactor reactor;
  REQUIRE(reactor.onSignal(SIGUSR1, [] { throw std::runtime_error("planned"); }));
  raise(SIGUSR1);
  REQUIRE_THROWS_WITH(reactor.step(), "planned");
  REQUIRE_FALSE(reactor.step());
}

TEST_CASE("a resolver that throws leaves the reactor whole") {
  Recorder events;
  Reactor reactor({.resolve = [](const std::string&, ResolveAnswer) {
    throw std::runtime_error("no resolver today");
  }});
  auto socket =
      reactor.connect({.hostname = "name", .port = 1, .socket = events.handlers("client")}).value();
  REQUIRE_THROWS_WITH(reactor.run(), "no resolver today");
  socket.close();
  bool ran = false;
  reactor.post([&] { ran = true; });
  REQUIRE(reactor.run() == 0);
  REQUIRE(ran);
}

#endif  // WARREN_LIBRARY_EXCEPTIONS

}  // namespace
}  // namespace warren
