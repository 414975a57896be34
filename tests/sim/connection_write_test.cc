// src/net/connection_write.cc: from the user's verbs to the kernel.
#include <algorithm>

#include "world.h"

namespace warren::sim {
namespace {

// System calls that send, so far.
uint64_t sends(const Kernel& kernel) {
  return kernel.calls(Call::send) + kernel.calls(Call::sendSegments);
}

TEST_CASE("drain fires once after a short write, however often the fd becomes writable") {
  Served world;
  world.peer.room(4096);
  REQUIRE(world.socket.write(pattern(5000)) == 4096);
  world.settle();
  REQUIRE(world.log.text() == "");
  world.peer.room(10'000);
  world.settle();
  world.kernel.writableTwice();
  world.settle();
  REQUIRE(world.log.text() == "drain");
}

TEST_CASE("drain does not fire when no bytes were refused") {
  Served world;
  world.peer.room(4096);
  REQUIRE(world.socket.write(pattern(4096)) == 4096);  // full to the brim, but all taken
  world.peer.room(10'000);
  world.kernel.writableTwice();
  world.settle();
  REQUIRE(world.log.text() == "");
}

TEST_CASE("drain fires again for each time the socket was full") {
  Served world;
  for (int round = 1; round <= 3; ++round) {
    world.peer.room(10);
    REQUIRE(world.socket.write(pattern(11)) == 10);
    REQUIRE(world.socket.write(pattern(11)) == 0);  // full already: the same edge
    world.peer.room(100);
    world.settle();
    REQUIRE(world.log.count("drain") == static_cast<size_t>(round));
  }
}

TEST_CASE("a socket filled again from inside drain drains again, a turn later") {
  Log log;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.drain = [&log](SocketHandle socket) {
    log.note(socket, "drain");
    if (log.count("drain") < 5) static_cast<void>(socket.write(pattern(1'000'000)));
  };
  Served world(std::move(options));
  world.socket = Socket<>(log.socket);
  static_cast<void>(world.socket.write(pattern(1'000'000)));
  for (int i = 0; i < 200; ++i) {
    world.peer.readAll();
    world.settle();
  }
  REQUIRE(log.count("drain") == 5);
}

TEST_CASE("writing nothing is no reason to drain") {
  Served world;
  world.peer.room(0);
  REQUIRE(world.socket.write("") == 0);
  world.peer.room(10);
  world.kernel.writableTwice();
  world.settle();
  REQUIRE(world.log.text() == "");
}

TEST_CASE("drain follows a send that went over highWaterMark") {
  ListenOptions<> options;
  options.highWaterMark = 1000;
  Served world(std::move(options));
  world.peer.room(0);
  REQUIRE(world.socket.send(pattern(1000)));
  REQUIRE_FALSE(world.socket.send("x"));
  world.settle();
  REQUIRE(world.log.text() == "");
  world.peer.room(500);  // takes some: the rest is still queued
  world.settle();
  REQUIRE(world.log.text() == "");
  world.peer.room(500'000);
  world.settle();
  REQUIRE(world.log.text() == "drain");
  REQUIRE(world.peer.readAll() == pattern(1000) + "x");
}

TEST_CASE("send below highWaterMark does not drain") {
  Served world;
  world.peer.room(0);
  REQUIRE(world.socket.send(pattern(1000)));
  world.settle();
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.peer.readAll() == pattern(1000));
  REQUIRE(world.log.text() == "");
}

TEST_CASE("a send over highWaterMark that the kernel takes at the end of the handler drains too") {
  Log log;
  ListenOptions<> options;
  options.highWaterMark = 10;
  options.socket = keeping(log);
  options.socket.data = [](SocketHandle socket, Bytes) { CHECK_FALSE(socket.send(pattern(11))); };
  Served world(std::move(options));
  world.peer.send("go");
  world.settle();
  REQUIRE(log.count("drain") == 1);
}

TEST_CASE("everything sent in one handler leaves in one system call") {
  ListenOptions<> options;
  options.socket.data = [](SocketHandle socket, Bytes) {
    for (int i = 0; i < 100; ++i) socket.send("line\n");
  };
  Served world(std::move(options));
  const uint64_t before = sends(world.kernel);
  world.peer.send("go");
  world.settle();
  REQUIRE(sends(world.kernel) - before == 1);
  REQUIRE(world.peer.readAll().size() == 500);
}

TEST_CASE("what several sockets send in one handler leaves in one system call each") {
  Log log;
  std::vector<SocketHandle> all;
  ListenOptions<> options;
  options.socket.open = [&](SocketHandle socket) { all.push_back(socket); };
  options.socket.data = [&](SocketHandle, Bytes) {
    for (int round = 0; round < 3; ++round) {
      for (SocketHandle each : all) each.send("hello");
    }
  };
  Served world(std::move(options));
  Peer second = world.kernel.connect(80);
  world.settle();
  const uint64_t before = sends(world.kernel);
  second.send("go");
  world.settle();
  REQUIRE(sends(world.kernel) - before == 2);
  REQUIRE(world.peer.readAll() == "hellohellohello");
  REQUIRE(second.readAll() == "hellohellohello");
}

TEST_CASE("a message costs one recv and one send, and no epoll_ctl") {
  ListenOptions<> options;
  options.socket.data = [](SocketHandle socket, Bytes bytes) { socket.send(bytes); };
  Served world(std::move(options));
  const uint64_t adds = world.kernel.calls(Call::add);
  const uint64_t reads = world.kernel.calls(Call::recv);
  for (int i = 0; i < 10; ++i) {
    world.peer.send(pattern(64));
    world.reactor.step();
    REQUIRE(world.peer.readAll() == pattern(64));
  }
  REQUIRE(world.kernel.calls(Call::recv) - reads == 10);
  REQUIRE(world.kernel.calls(Call::send) == 10);
  REQUIRE(world.kernel.calls(Call::add) == adds);
  REQUIRE(world.kernel.calls(Call::retoken) + world.kernel.calls(Call::remove) == 0);
}

TEST_CASE("what send has queued goes out before what write gives") {
  ListenOptions<> options;
  options.socket.data = [](SocketHandle socket, Bytes) {
    socket.send("one ");
    CHECK(socket.write("two ") == 4);
    socket.send("three");
  };
  Served world(std::move(options));
  world.peer.send("go");
  world.settle();
  REQUIRE(world.peer.readAll() == "one two three");
}

TEST_CASE("a write behind a queue that does not fit takes nothing out of turn") {
  Served world;
  world.peer.room(3);
  world.socket.send("queued ");
  REQUIRE(world.socket.write("written") == 0);
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.peer.readAll() == "queued ");
  REQUIRE(world.log.text() == "drain");
  REQUIRE(world.socket.write("written") == 7);
  REQUIRE(world.peer.readAll() == "written");
}

TEST_CASE("the kernel may cut a write at any byte: write tells how far it came") {
  const std::string message = pattern(40);
  for (size_t cut = 0; cut <= message.size(); ++cut) {
    Served world;
    world.kernel.inject(Call::send, {.limit = cut});
    const auto taken = static_cast<size_t>(world.socket.write(message));
    REQUIRE(taken == cut);
    world.settle();
    REQUIRE(world.log.count("drain") == (cut < message.size() ? 1 : 0));
    if (cut < message.size()) {
      REQUIRE(world.socket.write(message.substr(cut)) ==
              static_cast<std::ptrdiff_t>(message.size() - cut));
    }
    REQUIRE(world.peer.readAll() == message);
  }
}

TEST_CASE("the kernel may cut queue and write together at any byte: order and number stay right") {
  const std::string queued = pattern(20);
  const std::string written = pattern(50).substr(20);
  for (size_t cut = 0; cut <= 50; ++cut) {
    Served world;
    world.kernel.inject(Call::sendSegments, {.limit = cut});
    world.socket.send(queued);
    const auto taken = static_cast<size_t>(world.socket.write(written));
    REQUIRE(taken == (cut > 20 ? cut - 20 : 0));
    world.settle();
    REQUIRE(world.peer.readAll() == pattern(20 + taken));
    REQUIRE(world.socket.bytesWritten() == 20 + taken);
    REQUIRE(world.socket.unsentBytes() == 0);
  }
}

TEST_CASE("an outbox that wraps around its ring keeps its bytes in order, wherever it is cut") {
  const std::string all = pattern(6000);
  for (size_t cut = 1; cut < 1500; cut += 7) {
    Served world;
    world.peer.room(0);
    world.socket.send(all.substr(0, 1000));
    world.settle();
    world.peer.room(900);
    world.settle();  // the head has moved: what follows wraps
    world.socket.send(all.substr(1000, 900));
    world.settle();
    world.peer.room(cut);
    world.settle();
    world.socket.send(all.substr(1900));
    world.settle();
    world.peer.unlimitedRoom();
    world.settle();
    REQUIRE(world.peer.readAll() == all);
  }
}

TEST_CASE("an outbox larger than every buffer arrives whole through a slow reader") {
  Served world;
  const std::string all = pattern(3'000'000);
  world.socket.send(all);
  std::string got;
  while (got.size() < all.size()) {
    world.settle();
    const std::string part = world.peer.read(10'007);
    REQUIRE_FALSE(part.empty());
    got += part;
  }
  REQUIRE(got == all);
}

TEST_CASE("large sends go straight to the kernel; only the rest is queued") {
  Served world;
  world.peer.room(70'000);
  world.socket.send(pattern(100'000));
  REQUIRE(world.kernel.calls(Call::send) == 1);
  REQUIRE(world.socket.unsentBytes() == 30'000);
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.peer.readAll() == pattern(100'000));
}

TEST_CASE("more than maxQueued closes the socket with tooMuch and a reset, nothing is cut short") {
  ListenOptions<> options;
  options.highWaterMark = 10;
  options.maxQueued = 100;
  Served world(std::move(options));
  world.peer.room(0);
  REQUIRE_FALSE(world.socket.send(pattern(100)));
  REQUIRE(world.log.text() == "");
  REQUIRE_FALSE(world.socket.send("x"));
  REQUIRE(world.log.text() == "close tooMuch/write");
  REQUIRE(world.socket.unsentBytes() == 100);
  world.settle();
  REQUIRE(world.peer.wasReset());
  REQUIRE(world.socket.unsentBytes() == 100);
}

TEST_CASE(
    "more than the reactor's maxQueued on all sockets together closes the one that goes beyond "
    "it") {
  World world({.maxQueued = 100});
  std::vector<Socket<>> sockets;
  std::string why;
  ListenOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = {}};
  options.socket.open = [&](Socket<> socket) { sockets.push_back(socket); };
  options.socket.data = [](Socket<>, Bytes) {};
  options.socket.close = [&](Socket<>, const Error& error) { why = error.message(); };
  REQUIRE(world.reactor.listen(std::move(options)));
  Peer first = world.kernel.connect(80);
  Peer second = world.kernel.connect(80);
  Peer third = world.kernel.connect(80);
  world.settle();
  first.room(0);
  second.room(0);
  REQUIRE(sockets.at(0).send(pattern(60)));
  REQUIRE(sockets.at(1).send(pattern(40)));
  REQUIRE(world.reactor.stats().queuedBytes == 100);
  REQUIRE(sockets.at(2).send("who has room is not harmed"));
  REQUIRE(third.readAll() == "who has room is not harmed");
  REQUIRE(why == "");
  REQUIRE_FALSE(sockets.at(1).send("x"));
  REQUIRE(why.find("ReactorOptions::maxQueued") != std::string::npos);
  world.settle();
  REQUIRE(second.wasReset());
  REQUIRE(world.reactor.stats().queuedBytes == 60);
  first.unlimitedRoom();
  world.settle();
  REQUIRE(first.readAll() == pattern(60));
  REQUIRE(world.reactor.stats().queuedBytes == 0);
  REQUIRE(sockets.at(0).send(pattern(100)));
}

TEST_CASE("cork gathers writes into one system call when its guard ends") {
  Served world;
  {
    Cork cork = world.socket.cork();
    REQUIRE(world.socket.write("one ") == 4);
    {
      Cork inner = world.socket.cork();
      REQUIRE(world.socket.write("two ") == 4);
    }
    world.socket.send("three");
    REQUIRE(world.peer.readAll() == "");
    REQUIRE(world.socket.unsentBytes() == 13);
  }
  REQUIRE(world.peer.readAll() == "one two three");
  REQUIRE(sends(world.kernel) == 1);
}

TEST_CASE("a cork on a socket that has gone does nothing") {
  Served world;
  {
    Cork cork = world.socket.cork();
    REQUIRE(world.socket.write("lost") == 4);
    world.socket.terminate();
    world.settle();
  }
  Cork none = world.socket.cork();
  world.settle();
  REQUIRE(world.log.text() == "close clean");
  REQUIRE(world.peer.wasReset());
}

TEST_CASE("a cork held over a full kernel drains when there is room") {
  Served world;
  world.peer.room(2);
  {
    Cork cork = world.socket.cork();
    REQUIRE(world.socket.write("four") == 4);
  }
  REQUIRE(world.socket.write("five") == 0);
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.peer.readAll() == "four");
  REQUIRE(world.log.text() == "drain");
}

TEST_CASE("flush sends what is queued before the handler returns") {
  std::string seen;
  Peer* peer = nullptr;
  ListenOptions<> options;
  options.socket.data = [&](SocketHandle socket, Bytes) {
    socket.send("now");
    socket.flush();
    seen = peer->readAll();
  };
  Served world(std::move(options));
  peer = &world.peer;
  world.peer.send("go");
  world.settle();
  REQUIRE(seen == "now");
}

TEST_CASE("a sink is written with one gathered call and keeps what was not taken") {
  Served world;
  ArrayBufferSink sink;
  const std::string all = pattern(1000);
  sink.write(all).value();
  world.peer.room(300);
  REQUIRE(world.socket.write(sink) == 300);
  REQUIRE(sink.size() == 700);
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.log.text() == "drain");
  REQUIRE(world.socket.write(sink) == 700);
  REQUIRE(sink.empty());
  REQUIRE(world.peer.readAll() == all);
}

TEST_CASE("write answers -1 and send false once we have ended, and nothing follows the FIN") {
  Served world;
  world.socket.end("bye");
  REQUIRE(world.socket.write("late") == -1);
  REQUIRE_FALSE(world.socket.send("late"));
  REQUIRE(world.socket.end("late") == -1);
  world.settle();
  REQUIRE(world.peer.readAll() == "bye");
  REQUIRE(world.peer.ended());
}

TEST_CASE("counts tell accepted, taken and waiting bytes") {
  Served world;
  world.peer.room(100);
  world.socket.send(pattern(150));
  world.settle();
  REQUIRE(world.socket.bytesWritten() == 150);
  REQUIRE(world.socket.unsentBytes() == 50);
  REQUIRE(world.reactor.stats().bytesWritten == 100);
  REQUIRE(world.reactor.stats().shortWrites == 1);
  world.socket.terminate();
  world.settle();
  REQUIRE(world.socket.bytesWritten() == 150);
  REQUIRE(world.socket.unsentBytes() == 50);
}

TEST_CASE("what was sent outside of any handler leaves with the next turn") {
  Served world;
  world.socket.send("one ");
  world.socket.send("two");
  REQUIRE(world.peer.readAll() == "");
  world.reactor.step();
  REQUIRE(world.peer.readAll() == "one two");
  REQUIRE(sends(world.kernel) == 1);
}

TEST_CASE("ten thousand sockets finished in one handler do not pile up on the stack") {
  constexpr size_t kCount = 10'000;
  std::vector<SocketHandle> all;
  size_t closed = 0;
  ListenOptions<> options;
  options.allowHalfOpen = true;
  options.socket.open = [&](SocketHandle socket) { all.push_back(socket); };
  options.socket.data = [](SocketHandle, Bytes) {};
  options.socket.close = [&](SocketHandle, const Error&) { ++closed; };
  Served world(std::move(options));
  for (size_t i = 1; i < kCount; ++i) world.kernel.connect(80).shutdownWrite();
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(all.size() == kCount);
  world.reactor.defer([&] {
    for (SocketHandle each : all) each.end();
  });
  world.settle();
  REQUIRE(closed == kCount);
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("drain waits for room that is there, not for room that there was") {
  Served world;
  world.peer.room(10);
  REQUIRE(world.socket.write(pattern(11)) == 10);
  // As an event of the same batch tells, when another socket's handler did the writing.
  world.kernel.tell({.ready = os::kWritable, .token = world.peer.token()});
  world.settle();
  REQUIRE(world.log.text() == "");
  REQUIRE(world.socket.write("x") == 0);
  world.peer.room(10);
  world.settle();
  REQUIRE(world.log.text() == "drain");
}

}  // namespace
}  // namespace warren::sim
