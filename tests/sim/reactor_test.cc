// src/net/reactor_impl.cc: the turn, timers, functions, exceptions.
#include <cerrno>
#include <csignal>
#include <limits>
#include <stdexcept>

#include "support/aborts.h"
#include "world.h"

namespace warren::sim {
namespace {

// --- run -----------------------------------------------------------------------------------------

TEST_CASE("run returns at once when there is nothing to wait for") {
  World world;
  REQUIRE(world.reactor.run() == 0);
  REQUIRE(world.reactor.run() == 0);
}

TEST_CASE("a listener keeps run going until it stops") {
  Served world;
  world.kernel.after(1s, [&] { world.peer.close(); });
  world.kernel.after(2s, [&] { world.reactor.post([&] { world.listener.stop(); }); });
  const uint64_t begin = world.kernel.now();
  REQUIRE(world.reactor.run() == 0);
  REQUIRE(world.kernel.now() - begin == 2'000'000'000);
}

#if WARREN_LIBRARY_EXCEPTIONS  // elsewhere it cannot go through the turn
TEST_CASE("a reactor that nothing can wake sleeps for ever: here that is told") {
  Served world;
  REQUIRE_THROWS_WITH(world.reactor.run(), "the reactor would sleep for ever");
}
#endif

TEST_CASE("stop ends run after the turn under way, with its code") {
  for (int handler = 0; handler < 6; ++handler) {
    World world;
    Log log;
    const auto act = [&](int place) {
      if (place == handler) world.reactor.stop(40 + place);
    };
    ListenOptions<> options{.hostname = "127.0.0.1", .port = 80};
    options.socket.open = [&](SocketHandle) { act(0); };
    options.socket.data = [&](SocketHandle, Bytes) { act(1); };
    options.socket.end = [&](SocketHandle) { act(2); };
    options.socket.close = [&](SocketHandle, const Error&) { act(3); };
    world.reactor.listen(std::move(options)).value();
    Peer peer = world.kernel.connect(80);
    world.kernel.after(1s, [&] { peer.send("x"); });
    world.kernel.after(2s, [&] { peer.close(); });
    world.reactor.after(3s, [&] { act(4); }).value();
    world.reactor.after(4s, [&] { world.reactor.defer([&] { act(5); }); }).value();
    REQUIRE(world.reactor.run() == 40 + handler);
  }
}

TEST_CASE("run can be called again after stop") {
  World world;
  int ticks = 0;
  Timer timer = world.reactor
                    .every(10ms,
                           [&] {
                             if (++ticks % 3 == 0) world.reactor.stop(ticks);
                           })
                    .value();
  REQUIRE(world.reactor.run() == 3);
  REQUIRE(world.reactor.run() == 6);
  timer.cancel();
  REQUIRE(world.reactor.run() == 0);
}

TEST_CASE("run and step inside a handler do nothing") {
  Log log;
  World* here = nullptr;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.data = [&](SocketHandle socket, Bytes) {
    log.note(socket, "data");
    CHECK(here->reactor.run() == 0);
    CHECK(here->reactor.step());
  };
  Served world(std::move(options));
  here = &world;
  log.lines.clear();
  world.peer.send("x");
  world.settle();
  REQUIRE(log.text() == "data");
}

TEST_CASE("step waits no longer than its patience") {
  Served world;
  const uint64_t begin = world.kernel.now();
  REQUIRE(world.reactor.step());
  REQUIRE(world.kernel.now() == begin);
  REQUIRE(world.reactor.step(50ms));
  REQUIRE(world.kernel.now() - begin == 50'000'000);
}

TEST_CASE("step with all the patience there is waits for the next timer and does not spin") {
  World world;
  int fired = 0;
  world.reactor.after(50h, [&] { ++fired; }).value();
  while (fired == 0) world.reactor.step(std::chrono::milliseconds::max());
  REQUIRE(world.reactor.stats().turns < 10);
}

TEST_CASE("step with a patience below zero does not wait") {
  Served world;
  const uint64_t begin = world.kernel.now();
  world.reactor.step(-1ms);
  REQUIRE(world.kernel.now() == begin);
}

TEST_CASE("an idle reactor costs one wait for each wake-up and nothing in between") {
  Served world;
  world.socket.timeout(10h).value();
  const uint64_t waits = world.kernel.calls(Call::wait);
  world.elapse(9h);
  REQUIRE(world.kernel.calls(Call::wait) - waits < 20);
}

TEST_CASE("longestTurn tells how long handlers have kept everybody waiting, at the worst") {
  ListenOptions<> options;
  Nanoseconds work{};
  options.socket.data = [&](SocketHandle, Bytes) { Kernel::current().advance(work); };
  Served world(std::move(options));
  world.elapse(1h);
  REQUIRE(world.reactor.stats().longestTurn == 0ns);  // waiting is none
  for (const auto& [span, longest] :
       {std::pair(20ms, 20ms), std::pair(70ms, 70ms), std::pair(30ms, 70ms)}) {
    work = span;
    world.peer.send("x");
    world.settle();
    REQUIRE(world.reactor.stats().longestTurn == longest);
  }
}

// --- order ---------------------------------------------------------------------------------------

TEST_CASE("a turn dispatches events, then timers, then posted, then deferred functions") {
  std::string order;
  ListenOptions<> options;
  World* here = nullptr;
  options.socket.data = [&](SocketHandle, Bytes) {
    order += "data ";
    here->reactor.defer([&] { order += "deferred "; });
    here->reactor.post([&] { order += "posted "; });
  };
  Served world(std::move(options));
  here = &world;
  world.reactor.after(1ms, [&] { order += "timer "; }).value();
  world.kernel.advance(5ms);
  world.peer.send("x");
  world.reactor.step();
  REQUIRE(order == "data timer posted deferred ");
}

TEST_CASE("deferred functions run in order at the end of the turn, those they defer as well") {
  World world;
  std::string order;
  world.reactor.defer([&] {
    order += "1";
    world.reactor.defer([&] {
      order += "3";
      world.reactor.defer([&] { order += "4"; });
    });
  });
  world.reactor.defer([&] { order += "2"; });
  REQUIRE(order.empty());
  world.reactor.step();
  REQUIRE(order == "1234");
}

TEST_CASE("posted functions run in order; those posted meanwhile wait for the next turn") {
  World world;
  std::string order;
  world.reactor.post([&] {
    order += "1";
    world.reactor.post([&] { order += "3"; });
  });
  world.reactor.post([&] { order += "2"; });
  world.reactor.step();
  REQUIRE(order == "12");
  world.reactor.step();
  REQUIRE(order == "123");
}

TEST_CASE("a post wakes a wait, and no function is none") {
  Served world;
  bool ran = false;
  world.kernel.after(1s, [&] { world.reactor.post([&] { ran = true; }); });
  world.reactor.step(1h);
  REQUIRE(ran);
  world.reactor.post({});
  world.reactor.defer({});
  world.reactor.step();
}

// --- timers --------------------------------------------------------------------------------------

TEST_CASE("after is never early and at most a step late, at every phase of the clock") {
  for (const Nanoseconds phase : {0ns, 1ns, 250'000ns, 699'999ns, 700'000ns, 999'999ns}) {
    for (const auto delay : {0ms, 1ms, 2ms, 63ms, 64ms, 65ms, 4095ms, 4096ms, 1'000'000ms}) {
      World world;
      world.kernel.advance(phase);
      const uint64_t begin = world.kernel.now();
      world.reactor.after(delay, [] {}).value();
      world.reactor.run();
      const Nanoseconds took(world.kernel.now() - begin);
      REQUIRE(took >= delay);
      REQUIRE(took <= delay + 1ms);
    }
  }
}

TEST_CASE("delays count from the call, not from the start of a turn that takes long") {
  World world;
  uint64_t begin = 0;
  uint64_t end = 0;
  world.reactor.defer([&] {
    world.kernel.advance(500ms);  // a handler that is slow
    begin = world.kernel.now();
    world.reactor.after(100ms, [&] { end = world.kernel.now(); }).value();
  });
  world.reactor.run();
  REQUIRE(end - begin >= 100'000'000);
  REQUIRE(end - begin <= 101'000'000);
}

TEST_CASE("timers fire in the order of their deadlines, equal ones in the order of arming") {
  World world;
  std::string order;
  for (const auto& [delay, letter] :
       {std::pair(30ms, 'c'), std::pair(10ms, 'a'), std::pair(20ms, 'b'), std::pair(30ms, 'd'),
        std::pair(10ms, 'A')}) {
    world.reactor.after(delay, [&order, name = letter] { order += name; }).value();
  }
  world.kernel.advance(1s);
  world.reactor.step();
  REQUIRE(order == "aAbcd");
}

TEST_CASE("every keeps its rhythm, and does not burst after a long pause") {
  World world;
  std::vector<uint64_t> times;
  const uint64_t begin = world.kernel.now();
  Timer timer = world.reactor
                    .every(10ms,
                           [&] {
                             times.push_back((world.kernel.now() - begin) / 1'000'000);
                             if (times.size() == 3) world.kernel.advance(105ms);
                           })
                    .value();
  while (times.size() < 6) world.reactor.step(1s);
  timer.cancel();
  REQUIRE(times == std::vector<uint64_t>{11, 21, 31, 136, 141, 151});
}

TEST_CASE("a timer may cancel itself and others, fired or not") {
  World world;
  int fired = 0;
  Timer first;
  Timer second;
  Timer third;
  first = world.reactor
              .after(10ms,
                     [&] {
                       ++fired;
                       first.cancel();
                       second.cancel();  // due in the same turn
                       third.cancel();
                     })
              .value();
  second = world.reactor.after(10ms, [&] { ++fired; }).value();
  third = world.reactor.every(1h, [&] { ++fired; }).value();
  REQUIRE(second.active());
  world.reactor.run();
  REQUIRE(fired == 1);
  REQUIRE_FALSE(second.active());
  first.cancel();
  REQUIRE(world.reactor.stats().slots == 0);
}

TEST_CASE("every may cancel itself inside its call") {
  World world;
  int fired = 0;
  Timer timer;
  timer = world.reactor
              .every(10ms,
                     [&] {
                       if (++fired == 3) timer.cancel();
                     })
              .value();
  world.reactor.run();
  REQUIRE(fired == 3);
}

TEST_CASE("what a timer holds lives until its call has returned") {
  World world;
  Timer timer;
  auto held = std::make_shared<int>(7);
  std::weak_ptr<int> watched = held;
  int seen = 0;
  timer = world.reactor
              .every(10ms,
                     [&, held = std::move(held)] {
                       timer.cancel();
                       seen = *held;
                     })
              .value();
  world.reactor.run();
  REQUIRE(seen == 7);
  REQUIRE(watched.expired());
}

TEST_CASE("a handle of a timer that is gone touches no later one") {
  World world;
  Timer old = world.reactor.after(1ms, [] {}).value();
  world.reactor.run();
  int fired = 0;
  for (int i = 0; i < 200; ++i) world.reactor.after(1ms, [&] { ++fired; }).value();
  old.cancel();
  old.unref();
  REQUIRE_FALSE(old.active());
  world.reactor.run();
  REQUIRE(fired == 200);
}

TEST_CASE("an unreferenced timer does not keep run going, but fires while it does") {
  World world;
  int fired = 0;
  Timer timer = world.reactor.every(10ms, [&] { ++fired; }).value();
  timer.unref();
  timer.unref();
  world.reactor.run();
  REQUIRE(fired == 0);
  world.reactor.after(105ms, [] {}).value();
  world.reactor.run();
  REQUIRE(fired == 10);
  timer.ref();
  timer.cancel();
  world.reactor.run();
}

TEST_CASE("timers that mean nothing are refused") {
  World world;
  REQUIRE(world.reactor.after(-1ms, [] {}).error().is(Usage::outOfRange));
  REQUIRE(world.reactor.every(0ms, [] {}).error().is(Usage::outOfRange));
  REQUIRE(world.reactor.every(-1ms, [] {}).error().is(Usage::outOfRange));
  REQUIRE(world.reactor.after(1ms, {}).error().is(Usage::missing));
  REQUIRE(world.reactor.after(std::chrono::hours::max(), [] {}).error().is(Usage::outOfRange));
  REQUIRE(world.reactor.after(99 * 365 * 24h, [] {}));
}

TEST_CASE("nextDeadline and step embed a reactor in another loop") {
  Served world;
  REQUIRE_FALSE(world.reactor.nextDeadline());
  world.reactor.after(50ms, [] {}).value();
  REQUIRE(world.reactor.nextDeadline() >= 50ms);
  REQUIRE(world.reactor.nextDeadline() <= 51ms);
  world.socket.send("x");
  REQUIRE(world.reactor.nextDeadline() == 0ms);
  world.reactor.step();
  REQUIRE(world.reactor.pollFd() >= 0);
}

// --- exceptions ----------------------------------------------------------------------------------

#if WARREN_LIBRARY_EXCEPTIONS

TEST_CASE("what any handler throws reaches the error handler, and the socket goes on") {
  for (const std::string place : {"open", "data", "drain", "end", "timeout", "close"}) {
    Log log;
    ListenOptions<> options;
    options.allowHalfOpen = true;
    options.socket = keeping(log);
    const auto act = [&log, place](std::string name, SocketHandle socket) {
      log.note(socket, name);
      if (name == place) throw std::runtime_error("oops in " + name);
    };
    options.socket.open = [act](SocketHandle socket) {
      static_cast<void>(socket.write(pattern(1'000'000)));
      socket.timeout(100ms).value();
      act("open", socket);
    };
    options.socket.data = [act](SocketHandle socket, Bytes) { act("data", socket); };
    options.socket.drain = [act](SocketHandle socket) { act("drain", socket); };
    options.socket.end = [act](SocketHandle socket) { act("end", socket); };
    options.socket.timeout = [act](SocketHandle socket) { act("timeout", socket); };
    options.socket.close = [act](SocketHandle socket, const Error&) { act("close", socket); };
    options.socket.error = [&log](SocketHandle socket, const Error& error) {
      CHECK(error.origin() == Origin::handler);
      CHECK_THROWS_AS(std::rethrow_exception(error.exception()), std::runtime_error);
      log.note(socket, "error");
    };
    Served world(std::move(options));
    world.peer.send("x");
    world.settle();
    world.peer.readAll();
    world.settle();
    world.peer.readAll();
    world.peer.shutdownWrite();
    world.elapse(1s);
    std::string expected = "open, drain, data, end, timeout, close";
    expected.insert(expected.find(place) + place.size(), ", error");
    REQUIRE(log.text() == expected);
  }
}

TEST_CASE("without an error handler it leaves run, and nothing else of the turn is lost") {
  std::string order;
  ListenOptions<> options;
  options.socket.open = [&](SocketHandle) { order += "open "; };
  options.socket.data = [&](SocketHandle, Bytes bytes) {
    order += std::string(asText(bytes)) + " ";
    if (asText(bytes) == "bad") throw std::runtime_error("bad data");
  };
  Served world(std::move(options));
  order.clear();
  Peer second = world.kernel.connect(80);
  Peer third = world.kernel.connect(80);
  world.settle();
  order.clear();
  world.peer.send("bad");
  second.send("good");
  third.send("bad");
  REQUIRE_THROWS_WITH(world.reactor.run(), "bad data");
  REQUIRE(order == "bad good bad ");
  REQUIRE_THROWS_WITH(world.reactor.run(), "bad data");
  world.peer.send("fine");
  world.settle();
  REQUIRE(order == "bad good bad fine ");
}

TEST_CASE("what timers, posted and deferred functions throw leaves run too") {
  World world;
  int ran = 0;
  world.reactor.after(1ms, [] { throw std::runtime_error("timer"); }).value();
  world.reactor.after(1ms, [&] { ++ran; }).value();
  world.kernel.advance(2ms);
  world.reactor.post([] { throw std::runtime_error("posted"); });
  world.reactor.defer([] { throw 42; });
  world.reactor.defer([&] { ++ran; });
  REQUIRE_THROWS_WITH(world.reactor.run(), "timer");
  REQUIRE(ran == 2);
  REQUIRE_THROWS_WITH(world.reactor.run(), "posted");
  REQUIRE_THROWS_AS(world.reactor.run(), int);
  REQUIRE(world.reactor.run() == 0);
}

TEST_CASE("every goes on after a call that threw") {
  World world;
  int ticks = 0;
  Timer timer = world.reactor
                    .every(10ms,
                           [&] {
                             if (++ticks < 3) throw std::runtime_error("tick");
                             timer.cancel();
                           })
                    .value();
  REQUIRE_THROWS(world.reactor.run());
  REQUIRE_THROWS(world.reactor.run());
  REQUIRE(world.reactor.run() == 0);
  REQUIRE(ticks == 3);
}

TEST_CASE("what the error handler itself throws leaves run") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.data = [](SocketHandle, Bytes) { throw std::runtime_error("first"); };
  options.socket.error = [](SocketHandle, const Error&) { throw std::runtime_error("second"); };
  Served world(std::move(options));
  world.peer.send("x");
  REQUIRE_THROWS_WITH(world.reactor.step(), "second");
  REQUIRE(log.socket.readyState() == ReadyState::open);
}

TEST_CASE("what was sent before a throw still goes out") {
  ListenOptions<> options;
  options.socket.data = [](SocketHandle socket, Bytes) {
    socket.send("said");
    throw std::runtime_error("and then");
  };
  options.socket.error = [](SocketHandle, const Error&) {};
  Served world(std::move(options));
  world.peer.send("x");
  world.settle();
  REQUIRE(world.peer.readAll() == "said");
}

TEST_CASE("a close called outside of run gives its exception to the next run") {
  ListenOptions<> options;
  SocketHandle handle;
  options.socket.open = [&](SocketHandle socket) { handle = socket; };
  options.socket.data = [](SocketHandle, Bytes) {};
  options.socket.close = [](SocketHandle, const Error&) { throw std::runtime_error("in close"); };
  Served world(std::move(options));
  handle.close();
  REQUIRE_THROWS_WITH(world.reactor.run(), "in close");
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 0);
}

#endif

// --- the end -------------------------------------------------------------------------------------

TEST_CASE("destroying a reactor calls no handler, closes everything and destroys all Data") {
  auto shared = std::make_shared<int>(0);
  std::weak_ptr<int> watched = shared;
  Log log;
  World world;
  ListenOptions<std::shared_ptr<int>> options{.hostname = "127.0.0.1", .port = 80};
  options.socket = keeping<std::shared_ptr<int>>(log);
  options.data = std::move(shared);
  world.reactor.listen(std::move(options)).value();
  Peer peer = world.kernel.connect(80);
  world.kernel.connect(80);
  world.settle();
  log.socket.send(pattern(500'000));  // the second one lingers
  log.socket.close();
  world.settle();
  world.reactor.after(1h, [copy = watched.lock()] {}).value();
  world.reactor.defer([copy = watched.lock()] {});
  log.lines.clear();
  world.shutDown();
  REQUIRE(log.text() == "");
  REQUIRE(watched.expired());
  REQUIRE(peer.ended());
}

TEST_CASE("what Data's destructor calls at the end of a reactor does nothing") {
  struct Meddler {
    SocketHandle socket;
    ListenerHandle listener;
    Meddler() = default;
    Meddler(const Meddler&) {}
    Meddler& operator=(const Meddler&) = delete;
    ~Meddler() {
      socket.send("too late");
      socket.close();
      listener.stop(true);
    }
  };
  World world;
  std::vector<Socket<Meddler>> all;
  ListenOptions<Meddler> options{.hostname = "127.0.0.1", .port = 80};
  options.socket.open = [&](Socket<Meddler> socket) { all.push_back(socket); };
  options.socket.data = [](SocketHandle, Bytes) {};
  Listener<Meddler> listener = world.reactor.listen(std::move(options)).value();
  for (int i = 0; i < 3; ++i) world.kernel.connect(80);
  world.settle();
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].data().socket = all[(i + 1) % all.size()];
    all[i].data().listener = listener;
  }
  world.shutDown();
}

TEST_CASE("a child of fork cannot use its parent's reactor, and leaves the parent's things alone") {
  const std::string told = test::abortMessage([] {
    Served world;
    world.kernel.forked();
    world.reactor.step();
  });
  REQUIRE(told.find("child") != std::string::npos);
}

TEST_CASE("a reactor that its own handler destroys says so") {
  const std::string told = test::abortMessage([] {
    World world;
    world.reactor.defer([&] { world.owned.reset(); });
    world.reactor.step();
  });
  REQUIRE(told.find("destroyed by one of its own handlers") != std::string::npos);
}

TEST_CASE("without descriptors there is no reactor but an error") {
  Kernel kernel;
  for (size_t limit = 0; limit < 2; ++limit) {
    kernel.descriptorLimit(limit);
    REQUIRE(describe(Reactor::make().error()) == "EMFILE/start");
    REQUIRE(kernel.openDescriptors().empty());
  }
  ReactorOptions options;
  options.connectStagger = -1ms;
  REQUIRE(Reactor::make(std::move(options)).error().is(Usage::outOfRange));
}

TEST_CASE("a signal is told in the turn after it arrived") {
  Served world;
  int told = 0;
  world.reactor.onSignal(SIGUSR1, [&] { ++told; }).value();
  std::raise(SIGUSR1);
  REQUIRE(told == 0);
  world.reactor.step(1h);
  REQUIRE(told == 1);
  world.reactor.onSignal(SIGUSR1, {}).value();
}

// A Data that wants everything to end with it.
struct LastOne {
  Reactor* reactor = nullptr;
  Result<void>* answer = nullptr;

  LastOne() = default;
  LastOne(const LastOne&) = default;
  LastOne& operator=(const LastOne&) = default;
  ~LastOne() {
    if (reactor == nullptr) return;
    Result<void> drained = reactor->drain(0ms);
    if (answer != nullptr) *answer = std::move(drained);
  }
};

TEST_CASE("a Data that drains the reactor as it goes ends its own socket once") {
  World world;
  ListenOptions<LastOne> options{.hostname = "127.0.0.1", .port = 80};
  options.socket.data = [&world](Socket<LastOne> socket, Bytes) {
    socket.data().reactor = &world.reactor;
    socket.send("bye");
    socket.close();  // lingers: the Data goes first
  };
  REQUIRE(world.reactor.listen<LastOne>(std::move(options)));
  Peer peer = world.kernel.connect(80);
  peer.send("x");
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 0);
  REQUIRE(world.reactor.stats().closed == 1);
}

TEST_CASE("a Data that drains its reactor while that is destroyed is refused") {
  World world;
  Result<void> answer;
  ListenOptions<LastOne> options{.hostname = "127.0.0.1", .port = 80};
  options.socket.data = [&](Socket<LastOne> socket, Bytes) {
    socket.data().reactor = &world.reactor;
    socket.data().answer = &answer;
  };
  REQUIRE(world.reactor.listen<LastOne>(std::move(options)));
  Peer peer = world.kernel.connect(80);
  peer.send("x");
  world.settle();
  world.shutDown();
  REQUIRE_FALSE(answer);
  REQUIRE(answer.error().is(Usage::closed));
}

TEST_CASE("a drain cuts at its deadline, not before, and turns that take long put it off by none") {
  for (const int64_t span : {1, 2, 3, 150, 1050, 2000}) {
    for (const int64_t turn : {1, 500}) {
      Served world;
      const uint64_t begin = world.kernel.now();
      bool done = false;
      REQUIRE(world.reactor.drain(Duration(std::chrono::milliseconds(span)),
                                  [&](const Drained& drained) {
                                    done = true;
                                    REQUIRE(drained.cut == 1);
                                  }));
      while (!done) {
        world.peer.send("x");  // it is never quiet
        world.reactor.step(1h);
        world.elapse(Nanoseconds(turn * 1'000'000));
      }
      const auto took = static_cast<int64_t>(world.kernel.now() - begin) / 1'000'000;
      INFO(span << " ms, turns of " << turn);
      REQUIRE(took >= span);
      REQUIRE(took <= span + 101 + 2 * turn);
    }
  }
}

TEST_CASE("a socket that is closed while its Data is copied is an error, and nobody hears of it") {
  struct Stopping {
    std::function<void()> copied;
    Stopping() = default;
    Stopping(const Stopping& other) : copied(other.copied) {
      if (copied) copied();
    }
    Stopping& operator=(const Stopping&) = delete;
  };
  World world;
  Log log;
  std::string refused;
  Listener<Stopping> listener;
  Stopping data;
  ListenOptions<Stopping> options{.hostname = "127.0.0.1", .port = 80};
  options.socket.data = [](Socket<Stopping>, Bytes) {};
  options.socket.connectError = [&](Socket<Stopping>, const Error&) { refused = "connectError"; };
  options.acceptError = [&](const Error& error) { refused = describe(error); };
  listener = world.reactor.listen<Stopping>(std::move(options)).value();
  listener.data().copied = [&] { listener.stop(true); };
  Peer peer = world.kernel.connect(80);
  world.settle();
  REQUIRE(refused == "closed/socket");
  REQUIRE_FALSE(peer.connected());
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("what a drain holds may close sockets as the reactor goes, and no handler hears of it") {
  World world;
  Log log;
  ListenOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
  REQUIRE(world.reactor.listen(std::move(options)));
  world.kernel.connect(80);
  world.settle();
  struct Closing {
    Socket<> socket;
    ~Closing() { socket.close(); }
  };
  std::shared_ptr<Closing> closing(new Closing{Socket<>(log.socket)});
  REQUIRE(world.reactor.drain(1h, [held = std::move(closing)](const Drained&) {}));
  world.shutDown();
  REQUIRE(log.text() == "open");
}

TEST_CASE("a listener that another one's handlers own is stopped with it, once") {
  World world;
  Log log;
  ListenOptions<> inner{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
  const Listener<> owned = world.reactor.listen(std::move(inner)).value();
  ListenOptions<> outer{.hostname = "127.0.0.1", .port = 81, .socket = keeping(log)};
  outer.socket.data = [own = Scoped(owned)](SocketHandle, Bytes) {};
  REQUIRE(world.reactor.listen(std::move(outer)));
  REQUIRE(world.reactor.drain(1s));
  world.settle();
  REQUIRE_FALSE(owned.listening());
}

}  // namespace
}  // namespace warren::sim
