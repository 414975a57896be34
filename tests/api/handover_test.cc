// Listeners that come from elsewhere: from a service manager, and from one process to the next.
#include "warren/handover.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"
#include "support/net.h"
#include "warren/warren.h"

namespace warren {
namespace {

using namespace std::chrono_literals;
using test::RawSocket;
using test::runUntil;

SocketHandlers<> echo() {
  return {.data = [](Socket<> socket, Bytes bytes) { socket.send(bytes); }};
}

Listener<> listenOn(Reactor& reactor, SocketHandlers<> handlers) {
  return reactor.listen<>({.hostname = "127.0.0.1", .port = 0, .socket = std::move(handlers)})
      .value();
}

RawSocket connectTo(const ListenerHandle& listener) {
  return RawSocket::connectTcp(static_cast<uint16_t>(listener.port()));
}

// Two connected unix sockets that wait.
std::array<int, 2> socketPair() {
  std::array<int, 2> pair{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()) == 0);
  return pair;
}

// Runs `work` in a child of its own, which exits with what it gives.
class Process {
 public:
  explicit Process(const std::function<int()>& work) : pid_(::fork()) {
    if (pid_ == 0) std::_Exit(codeOf(work));
    REQUIRE(pid_ > 0);
  }
  int wait() {
    int status = 0;
    REQUIRE(::waitpid(pid_, &status, 0) == pid_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  static int codeOf(const std::function<int()>& work) {
    try {
      return work();
    } catch (const std::exception&) {
      return 100;
    }
  }

  pid_t pid_;
};

// One server of a name: says it to each client, and ends. It serves until a byte comes down `control`,
// then finishes what it has. 0 when nobody was cut.
int serve(Reactor& reactor, Listener<> listener, int control) {
  size_t cut = 0;
  auto commands = reactor.connect<>({
      .fd = control,
      .socket = {.data =
                     [&](Socket<> socket, Bytes) {
                       socket.close();
                       listener.drain(5s, [&](const Drained& drained) { cut = drained.cut; })
                           .value();
                     }},
  });
  return commands && reactor.run() == 0 && cut == 0 ? 0 : 1;
}

SocketHandlers<> sayer(const std::string& name) {
  return {.open = [name](Socket<> socket) { socket.end(name); }, .data = [](auto, auto) {}};
}

}  // namespace

TEST_CASE("a listener that is handed over goes on without a refused connection") {
  const std::array<int, 2> pair = socketPair();
  Reactor first;
  auto listener = listenOn(first, echo());
  const int port = listener.port();
  REQUIRE(handOver(pair[0], listener.descriptors()[0], "echo"));
  Result<HandedOver> taken = takeOver(pair[1]);
  REQUIRE(taken);
  REQUIRE(taken->name == "echo");
  REQUIRE(taken->fd != listener.descriptors()[0]);
  Reactor second;
  auto successor = second.listen<>({.fd = taken->fd, .socket = echo()}).value();
  REQUIRE(successor.port() == port);
  RawSocket waiting = connectTo(listener);  // in the queue while the first one stops
  listener.stop();
  first.step();
  RawSocket late = connectTo(successor);
  runUntil(second, [&] { return successor.connectionCount() == 2; });
  waiting.sendAll("still here");
  std::string back;
  runUntil(second, [&] { return (back += waiting.readSome()) == "still here"; });
  ::close(pair[0]);
  REQUIRE(takeOver(pair[1]).error().isErrno(ECONNRESET));
  ::close(pair[1]);
}

TEST_CASE("a client that hammers a port notices nothing while its server hands over to another") {
  constexpr int kAfter = 200;  // connections each server must have answered
  RawSocket listening = RawSocket::listenTcp();
  const uint16_t port = listening.port();
  const int inherited = listening.release();
  const std::array<int, 2> link = socketPair();  // from the old server to the new one
  const std::array<int, 2> toOld = socketPair();
  const std::array<int, 2> toNew = socketPair();

  Process old([&] {
    Reactor reactor;
    auto listener = reactor.listen<>({.fd = inherited, .socket = sayer("old")});
    if (!listener) return 2;
    char go = 0;
    // The successor asks for the listener when it is ready.
    const Timer asking =
        reactor
            .every(1ms,
                   [&] {
                     if (::recv(link[0], &go, 1, MSG_DONTWAIT) != 1) return;
                     if (!handOver(link[0], listener->descriptors()[0], "hammered")) std::_Exit(3);
                   })
            .value();
    asking.unref();
    return serve(reactor, *listener, toOld[1]);
  });
  ::close(inherited);

  const auto ask = [&] {
    RawSocket client = RawSocket::connectTcp(port);  // throws when refused
    return client.readAll();
  };
  for (int answered = 0; answered < kAfter; ++answered) REQUIRE(ask() == "old");

  Process successor([&] {
    if (::send(link[1], "!", 1, 0) != 1) return 2;
    Result<HandedOver> taken = takeOver(link[1]);
    if (!taken || taken->name != "hammered") return 3;
    Reactor reactor;
    auto listener = reactor.listen<>({.fd = taken->fd, .socket = sayer("new")});
    return listener ? serve(reactor, *listener, toNew[1]) : 4;
  });

  // Both serve for a while; then the old one goes, with clients in the middle of it.
  while (ask() != "new") continue;
  REQUIRE(::send(toOld[0], "!", 1, 0) == 1);
  for (int answered = 0; answered < kAfter;) {
    const std::string said = ask();
    REQUIRE((said == "old" || said == "new"));
    answered += said == "new" ? 1 : 0;
  }
  REQUIRE(old.wait() == 0);
  for (int answered = 0; answered < kAfter; ++answered) REQUIRE(ask() == "new");
  REQUIRE(::send(toNew[0], "!", 1, 0) == 1);
  REQUIRE(successor.wait() == 0);
  for (const auto& pair : {link, toOld, toNew}) {
    for (const int fd : pair) ::close(fd);
  }
}

TEST_CASE("a listener whose descriptor somebody else holds is silent after stop") {
  Reactor reactor;
  auto listener = listenOn(reactor, echo());
  const uint16_t port = static_cast<uint16_t>(listener.port());
  const int other = ::dup(listener.descriptors()[0]);
  listener.stop();
  const RawSocket waiting = RawSocket::connectTcp(port);  // in the queue of the other
  const uint64_t events = reactor.stats().events;
  for (int turn = 0; turn < 5; ++turn) reactor.step();
  REQUIRE(reactor.stats().events == events);
  ::close(other);
}

TEST_CASE("a unix path goes to the successor with its listener, who removes it in the end") {
  const test::TempDir dir;
  const std::array<int, 2> pair = socketPair();
  Reactor first;
  auto listener = first.listen<>({.unix = dir.path("socket"), .socket = echo()}).value();
  REQUIRE(handOver(pair[0], listener.descriptors()[0], "echo"));
  Reactor second;
  auto successor = second.listen<>({.fd = takeOver(pair[1]).value().fd, .socket = echo()}).value();
  REQUIRE(successor.unixPath() == dir.path("socket"));
  listener.ownsPath(false);
  successor.ownsPath(true);
  listener.stop();
  const RawSocket client = RawSocket::connectUnix(dir.path("socket"));
  runUntil(second, [&] { return successor.connectionCount() == 1; });
  successor.stop(true);
  REQUIRE_FALSE(std::filesystem::exists(dir.path("socket")));
  for (const int fd : pair) ::close(fd);
}

TEST_CASE("of several descriptors in one message one is taken, and none leaks") {
  const std::array<int, 2> pair = socketPair();
  const size_t before = test::openDescriptors();
  char size = 0;
  iovec part{&size, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof pair)> room{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = room.data();
  message.msg_controllen = room.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof pair);
  std::memcpy(CMSG_DATA(rights), pair.data(), sizeof pair);
  REQUIRE(::sendmsg(pair[0], &message, 0) == 1);
  const int taken = takeOver(pair[1]).value().fd;
  REQUIRE(test::openDescriptors() == before + 1);
  for (const int fd : {taken, pair[0], pair[1]}) ::close(fd);
}

TEST_CASE("a name that is too long is not handed over") {
  REQUIRE(handOver(0, 0, std::string(256, 'n')).error().is(Usage::outOfRange));
}

TEST_CASE("handing over to a process that is gone is an error, not a SIGPIPE") {
  Process child([] {
    ::signal(SIGPIPE, SIG_DFL);
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()) != 0) return 1;
    ::close(pair[1]);
    return handOver(pair[0], pair[0], "echo").error().isErrno(EPIPE) ? 0 : 2;
  });
  REQUIRE(child.wait() == 0);
}

TEST_CASE("listeners of a service manager are taken, with their names") {
  RawSocket raw = RawSocket::listenTcp();
  const int port = raw.port();
  Process child([&] {
    if (::dup2(raw.release(), 3) != 3) return 1;
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_FDNAMES", "web", 1);
    Result<std::vector<HandedOver>> listeners = inheritedListeners();
    if (!listeners || listeners->size() != 1 || (*listeners)[0].name != "web") return 2;
    Reactor reactor;
    auto listener = reactor.listen<>({.fd = (*listeners)[0].fd, .socket = echo()});
    if (!listener || listener->port() != port) return 3;
    ::setenv("LISTEN_FDS", "many", 1);
    if (!inheritedListeners().error().is(Usage::invalid)) return 4;
    ::setenv("LISTEN_FDS", "2147483647", 1);
    if (!inheritedListeners().error().isErrno(EBADF)) return 6;
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_PID", "1", 1);
    return inheritedListeners().value().empty() ? 0 : 5;
  });
  REQUIRE(child.wait() == 0);
}

}  // namespace warren
