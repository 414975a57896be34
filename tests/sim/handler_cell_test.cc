// src/net/handler_cell.h: which handlers a socket has, and reloading them.
#include "world.h"

namespace warren::sim {
namespace {

SocketHandlers<> naming(Log& log, const std::string& name) {
  SocketHandlers<> handlers;
  handlers.data = [&log, name](SocketHandle socket, Bytes) { log.note(socket, name); };
  handlers.close = [&log, name](SocketHandle socket, const Error&) {
    log.note(socket, name + " close");
  };
  return handlers;
}

TEST_CASE("reload serves the sockets there are and those to come, from the next event on") {
  Served world;
  world.listener.reload(naming(world.log, "new")).value();
  world.peer.send("x");
  Peer second = world.kernel.connect(80);
  second.send("y");
  world.settle();
  REQUIRE(world.log.text() == "new, new");
}

TEST_CASE("handlers that the new table lacks are gone") {
  Served world;
  SocketHandlers<> handlers;
  handlers.drain = [&](SocketHandle socket) { world.log.note(socket, "drain"); };
  world.socket.reload(std::move(handlers)).value();
  world.peer.send("x");
  world.peer.close();
  world.settle();
  REQUIRE(world.log.text() == "");
  REQUIRE_FALSE(world.socket);
}

TEST_CASE("a table with neither data nor drain is refused, and the old one stays") {
  Served world;
  SocketHandlers<> handlers;
  handlers.close = [](SocketHandle, const Error&) {};
  REQUIRE(world.listener.reload(handlers).error().is(Usage::missing));
  REQUIRE(world.socket.reload(handlers).error().is(Usage::missing));
  world.peer.send("x");
  world.settle();
  REQUIRE(world.log.text() == "data");
}

TEST_CASE("a socket that is gone cannot be reloaded; a stopped listener can while it has sockets") {
  Served world;
  world.listener.stop();
  world.listener.reload(naming(world.log, "late")).value();
  world.peer.send("x");
  world.settle();
  REQUIRE(world.log.text() == "late");
  world.socket.terminate();
  REQUIRE(world.socket.reload(naming(world.log, "never")).error().is(Usage::closed));
  world.settle();
  REQUIRE(world.listener.reload(naming(world.log, "never")).error().is(Usage::closed));
}

TEST_CASE("reload inside each handler replaces the running one without pulling it away") {
  for (const std::string place : {"open", "data", "drain", "end", "timeout", "close", "error"}) {
    World world;
    Log log;
    Listener<> listener;
    auto state = std::make_shared<std::string>("alive");
    std::weak_ptr<std::string> watched = state;
    const auto act = [&, place](const std::string& name, SocketHandle socket,
                                const std::shared_ptr<std::string>& captured) {
      log.note(socket, name);
      if (name != place) return;
      listener.reload(naming(log, "new")).value();
      listener.reload(naming(log, "newer")).value();  // twice: the middle one goes as well
      CHECK(*captured == "alive");
      CHECK(captured.use_count() > 0);
    };
    ListenOptions<> options{.hostname = "127.0.0.1", .port = 80, .allowHalfOpen = true};
    options.socket.open = [act, state](SocketHandle socket) {
      static_cast<void>(socket.write(pattern(1'000'000)));
      socket.timeout(100ms).value();
      act("open", socket, state);
    };
    options.socket.data = [act, state, place](SocketHandle socket, Bytes) {
      act("data", socket, state);
#if WARREN_LIBRARY_EXCEPTIONS
      if (place == "error") throw std::runtime_error("to the error handler");
#endif
    };
    options.socket.drain = [act, state](SocketHandle socket) { act("drain", socket, state); };
    options.socket.end = [act, state](SocketHandle socket) { act("end", socket, state); };
    options.socket.timeout = [act, state](SocketHandle socket) { act("timeout", socket, state); };
    options.socket.close = [act, state](SocketHandle socket, const Error&) {
      act("close", socket, state);
    };
    options.socket.error = [act, state](SocketHandle socket, const Error&) {
      act("error", socket, state);
    };
    state.reset();
    listener = world.reactor.listen(std::move(options)).value();
    Peer peer = world.kernel.connect(80);
    world.settle();
    peer.send("x");
    world.settle();
    peer.readAll();
    world.settle();
    peer.readAll();
    peer.shutdownWrite();
    world.elapse(200ms);
#if !WARREN_LIBRARY_EXCEPTIONS
    if (place == "error") continue;
#endif
    REQUIRE(log.count(place) == 1);
    REQUIRE(log.lines.back() == (place == "close" ? "close" : "newer close"));
    REQUIRE(log.count("new") + log.count("new close") == 0);
    REQUIRE(watched.expired());  // the table that nobody uses is gone
  }
}

TEST_CASE("a dialed socket's reload is its own") {
  Served world;
  Log own;
  ConnectOptions<> options{.hostname = "127.0.0.1", .port = 80};
  options.socket = keeping(own);
  const Socket<> first = world.reactor.connect(options).value();
  const Socket<> second = world.reactor.connect(options).value();
  world.settle();
  own.lines.clear();
  first.reload(naming(own, "reloaded")).value();
  for (const Socket<>& socket : {first, second}) socket.shutdown();
  world.settle();
  REQUIRE(own.lines.size() == 3);
  REQUIRE(own.count("reloaded close") == 1);
  REQUIRE(own.count("close clean") == 1);
  REQUIRE_FALSE(static_cast<bool>(first.listener()));
}

TEST_CASE("a reload at every turn keeps no old table") {
  Served world;
  std::vector<std::weak_ptr<int>> tables;
  for (int round = 0; round < 100; ++round) {
    auto state = std::make_shared<int>(round);
    tables.push_back(state);
    SocketHandlers<> handlers;
    handlers.data = [state](SocketHandle, Bytes) {};
    world.listener.reload(std::move(handlers)).value();
    state.reset();
    world.reactor.step();
  }
  size_t alive = 0;
  for (const auto& table : tables) alive += !table.expired();
  REQUIRE(alive == 1);
}

TEST_CASE("sockets know their listener, its Data and each their own") {
  World world;
  Log log;
  Socket<std::string> last;
  ListenOptions<std::string> options{.hostname = "127.0.0.1", .port = 80, .data = "first"};
  options.socket.open = [&](Socket<std::string> socket) { last = socket; };
  options.socket.data = [](SocketHandle, Bytes) {};
  Listener<std::string> listener = world.reactor.listen(std::move(options)).value();
  world.kernel.connect(80);
  world.settle();
  const Socket<std::string> first = last;
  REQUIRE(first.listener() == listener);
  first.data() += " changed";
  listener.data() = "second";
  world.kernel.connect(80);
  world.settle();
  REQUIRE(first.data() == "first changed");
  REQUIRE(last.data() == "second");
  listener.stop();
  REQUIRE(first.listener() == listener);
}

}  // namespace
}  // namespace warren::sim
