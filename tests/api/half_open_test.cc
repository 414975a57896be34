// The peer ends its side first: nothing it sent is lost, and our side stays open as long as we want.
// Each way a socket comes to be with each kind of reader.
#include <unistd.h>

#include <string>
#include <utility>

#include "os/fd.h"
#include "support/catch.h"
#include "support/net.h"
#include "support/recorder.h"
#include "warren/warren.h"

namespace warren {
namespace {

using test::Lines;
using test::RawSocket;
using test::Recorder;
using test::runUntil;

enum class Birth { accepted, acceptedUnix, dialed, dialedUnix, adopted };
enum class Reader {
  early,   // reads as the bytes come
  late,    // gets its first turn when bytes and FIN are both there
  paused,  // holds both back, and resumes much later
};

const char* nameOf(Birth birth) {
  constexpr const char* kNames[] = {"accepted", "accepted on unix", "dialed", "dialed on unix",
                                    "adopted"};
  return kNames[static_cast<int>(birth)];
}

const char* nameOf(Reader reader) {
  constexpr const char* kNames[] = {"early", "late", "paused"};
  return kNames[static_cast<int>(reader)];
}

// A socket, however born, with its plain peer. The peer is there before the socket has a turn.
class HalfOpen {
 public:
  HalfOpen(Birth birth, Reader reader, bool allowHalfOpen) {
    SocketHandlers<> handlers = events.handlers("socket");
    handlers.open = [this, reader](Socket<> opened) {
      socket = opened;
      events.note("socket", "open");
      if (reader == Reader::paused) opened.pause();
    };
    switch (birth) {
      case Birth::accepted:
      case Birth::acceptedUnix:
        listen(birth, std::move(handlers), allowHalfOpen);
        break;
      case Birth::dialed:
      case Birth::dialedUnix:
        dial(birth, std::move(handlers), allowHalfOpen);
        break;
      case Birth::adopted: {
        RawSocket listening = RawSocket::listenTcp();
        RawSocket ours = RawSocket::connectTcp(listening.port());
        peer = listening.accept();
        connect({.fd = ours.release()}, std::move(handlers), allowHalfOpen);
        break;
      }
    }
  }

  void turns(int count) {
    while (count-- > 0) reactor.step();
  }
  bool told(const std::string& line) const { return events.has("socket " + line); }

  Recorder events;
  Reactor reactor;
  Socket<> socket;
  RawSocket peer;

 private:
  void listen(Birth birth, SocketHandlers<> handlers, bool allowHalfOpen) {
    ListenOptions<> options{.socket = std::move(handlers), .allowHalfOpen = allowHalfOpen};
    if (birth == Birth::acceptedUnix) {
      options.unix = dir_.path("socket");
    } else {
      options.hostname = "127.0.0.1";
      options.port = 0;
    }
    listener_ = reactor.listen(std::move(options)).value();
    peer = birth == Birth::acceptedUnix
               ? RawSocket::connectUnix(dir_.path("socket"))
               : RawSocket::connectTcp(static_cast<uint16_t>(listener_.port()));
  }

  void dial(Birth birth, SocketHandlers<> handlers, bool allowHalfOpen) {
    if (birth == Birth::dialedUnix) {
      RawSocket listening = RawSocket::listenUnix(dir_.path("socket"));
      connect({.unix = dir_.path("socket")}, std::move(handlers), allowHalfOpen);
      reactor.step();
      peer = listening.accept();
    } else {
      RawSocket listening = RawSocket::listenTcp();
      connect({.hostname = "127.0.0.1", .port = listening.port()}, std::move(handlers),
              allowHalfOpen);
      peer = listening.accept();
    }
  }

  void connect(ConnectOptions<> options, SocketHandlers<> handlers, bool allowHalfOpen) {
    options.socket = std::move(handlers);
    options.allowHalfOpen = allowHalfOpen;
    socket = reactor.connect(std::move(options)).value();
  }

  test::TempDir dir_;
  Listener<> listener_;
};

void peerEndsFirst(HalfOpen& pair, Reader reader) {
  if (reader != Reader::late) runUntil(pair.reactor, [&] { return pair.told("open"); });
  pair.peer.sendAll("question");
  if (reader == Reader::early) runUntil(pair.reactor, [&] { return pair.told("data question"); });
  pair.peer.shutdownWrite();
  if (reader == Reader::paused) {
    pair.turns(10);
    REQUIRE(pair.events.of("socket") == Lines{"open"});
    pair.socket.resume();
  }
}

}  // namespace

TEST_CASE("what came before the peer's FIN is delivered, and a half-open socket still answers") {
  const auto birth = GENERATE(Birth::accepted, Birth::acceptedUnix, Birth::dialed,
                              Birth::dialedUnix, Birth::adopted);
  const auto reader = GENERATE(Reader::early, Reader::late, Reader::paused);
  INFO(nameOf(birth) << ", " << nameOf(reader));
  HalfOpen pair(birth, reader, true);
  peerEndsFirst(pair, reader);
  runUntil(pair.reactor, [&] { return pair.told("end"); });
  pair.turns(3);
  REQUIRE(pair.events.of("socket") == Lines{"open", "data question", "end"});
  REQUIRE(pair.socket.readyState() == ReadyState::peerEnded);

  REQUIRE(pair.socket.send("answer"));
  REQUIRE(pair.socket.end("!") == 1);
  runUntil(pair.reactor, [&] { return pair.told("close"); });
  REQUIRE(pair.peer.readAll() == "answer!");
  REQUIRE(pair.events.of("socket") == Lines{"open", "data question", "end", "close clean"});
}

TEST_CASE("without allowHalfOpen the peer's FIN ends the socket, after what it sent") {
  const auto birth = GENERATE(Birth::accepted, Birth::acceptedUnix, Birth::dialed,
                              Birth::dialedUnix, Birth::adopted);
  const auto reader = GENERATE(Reader::early, Reader::late, Reader::paused);
  INFO(nameOf(birth) << ", " << nameOf(reader));
  HalfOpen pair(birth, reader, false);
  peerEndsFirst(pair, reader);
  runUntil(pair.reactor, [&] { return pair.told("close"); });
  REQUIRE(pair.events.of("socket") == Lines{"open", "data question", "end", "close clean"});
  REQUIRE(pair.peer.readAll().empty());
}

TEST_CASE("our FIN first: what the peer still says is delivered, whatever the socket's origin") {
  const auto birth = GENERATE(Birth::accepted, Birth::acceptedUnix, Birth::dialed,
                              Birth::dialedUnix, Birth::adopted);
  const bool allowHalfOpen = GENERATE(false, true);
  INFO(nameOf(birth) << ", allowHalfOpen " << allowHalfOpen);
  HalfOpen pair(birth, Reader::early, allowHalfOpen);
  runUntil(pair.reactor, [&] { return pair.told("open"); });
  REQUIRE(pair.socket.end("last question") == 13);
  REQUIRE(pair.socket.readyState() == ReadyState::ended);
  pair.turns(1);
  REQUIRE(pair.peer.readAll() == "last question");
  pair.peer.sendAll("long answer");
  pair.peer.shutdownWrite();
  runUntil(pair.reactor, [&] { return pair.told("close"); });
  REQUIRE(pair.events.of("socket") == Lines{"open", "data long answer", "end", "close clean"});
}

TEST_CASE("a peer that ended first sees our end, whoever else has the descriptor") {
  RawSocket listening = RawSocket::listenTcp();
  const int fd = RawSocket::connectTcp(listening.port()).release();
  const os::Fd copy(::dup(fd));
  RawSocket peer = listening.accept();
  Reactor reactor;
  ConnectOptions<> options{.fd = fd};
  options.socket.data = [](Socket<> socket, Bytes bytes) { socket.send(bytes); };
  REQUIRE(reactor.connect(std::move(options)));
  peer.sendAll("question");
  peer.shutdownWrite();
  reactor.run();
  REQUIRE(peer.readAll() == "question");
}

}  // namespace warren
