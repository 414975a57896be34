#include "warren/listen.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "os/platform.h"
#include "support/catch.h"
#include "support/net.h"
#include "support/recorder.h"
#include "warren/reactor.h"

namespace warren {
namespace {

using namespace std::chrono_literals;
using test::Lines;
using test::RawSocket;
using test::Recorder;
using test::runUntil;
using test::TempDir;

// The least a listener needs.
template <class Data = Empty>
SocketHandlers<Data> sink() {
  return {.data = [](auto, Bytes) {}};
}

uint16_t portOf(const ListenerHandle& listener) { return static_cast<uint16_t>(listener.port()); }

bool refusesTcp(uint16_t port, const std::string& host = "127.0.0.1") {
  try {
    RawSocket::connectTcp(port, host);
    return false;
  } catch (const std::system_error& error) {
    return error.code().value() == ECONNREFUSED;
  }
}

// Runs `body` in a child process and gives its exit code: 0 when all went well, 99 after an
// exception, above 128 after a signal.
int inChild(const std::function<int()>& body) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int code = 99;
    try {
      code = body();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
    }
    _exit(code);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// --- where -------------------------------------------------------------------------------------------

TEST_CASE("port 0 picks a port, and the facts stay readable after stop") {
  Reactor reactor;
  auto listener = reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value();
  REQUIRE(listener.listening());
  REQUIRE(listener);
  const int port = listener.port();
  const auto facts = [&] {
    REQUIRE(port > 0);
    REQUIRE(listener.port() == port);
    REQUIRE(listener.hostname() == "127.0.0.1");
    REQUIRE(listener.unixPath().empty());
    REQUIRE(listener.addresses() ==
            std::vector{Address::ipv4({127, 0, 0, 1}, static_cast<uint16_t>(port))});
  };
  facts();
  listener.stop();
  REQUIRE_FALSE(listener.listening());
  facts();
  reactor.step();
  facts();
}

TEST_CASE("the facts of a stopped listener outlive some dozens of others") {
  Reactor reactor;
  auto listener = reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value();
  const int port = listener.port();
  listener.stop();
  for (int others = 0; others < 24; ++others) {
    reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value().stop();
    reactor.step();
  }
  REQUIRE(listener.port() == port);
  // With hundreds of them it is forgotten, and its handle finds nothing.
  for (int others = 0; others < 300; ++others) {
    reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value().stop();
    reactor.step();
  }
  REQUIRE(listener.port() == 0);
  REQUIRE(listener.hostname().empty());
  REQUIRE(listener.addresses().empty());
  REQUIRE_FALSE(listener.listening());
  listener.stop();
  listener.ref();
  listener.unref();
  REQUIRE(listener.reload(sink()).error().is(Usage::closed));
}

TEST_CASE("a handle that names nothing answers with nothing") {
  const Listener<> none;
  none.stop();
  none.stop(true);
  none.ref();
  none.unref();
  REQUIRE_FALSE(none);
  REQUIRE(none.port() == 0);
  REQUIRE(none.hostname().empty());
  REQUIRE(none.unixPath().empty());
  REQUIRE(none.addresses().empty());
  REQUIRE(none.connectionCount() == 0);
  REQUIRE(none.reload(sink()).error().is(Usage::closed));
}

// Listens on `host` and gives the peer's address that the server sees when `from` is dialed.
std::string peerSeen(const std::string& host, const std::string& from) {
  Reactor reactor;
  std::string peer;
  auto listener = reactor
                      .listen({.hostname = host,
                               .port = 0,
                               .socket = {.open =
                                              [&](auto socket) {
                                                peer = socket.remoteAddress().host();
                                                REQUIRE(socket.remoteAddress().port() != 0);
                                              },
                                          .data = [](auto, Bytes) {}}})
                      .value();
  REQUIRE(listener.hostname() == host);
  RawSocket client = RawSocket::connectTcp(portOf(listener), from);
  runUntil(reactor, [&] { return !peer.empty(); });
  return peer;
}

TEST_CASE("a numeric host listens on that address") {
  REQUIRE(peerSeen("127.0.0.1", "127.0.0.1") == "127.0.0.1");
  REQUIRE(peerSeen("::1", "::1") == "::1");
  REQUIRE(peerSeen("0.0.0.0", "127.0.0.1") == "127.0.0.1");
  REQUIRE(peerSeen("127.0.0.2", "127.0.0.2") == "127.0.0.1");
}

TEST_CASE("the IPv6 wildcard takes both families, and shows IPv4 peers in mapped form") {
  REQUIRE(peerSeen("::", "::1") == "::1");
  REQUIRE(peerSeen("::", "127.0.0.1") == "::ffff:127.0.0.1");
}

TEST_CASE("ipv6Only keeps IPv4 out, and leaves the IPv4 port to others") {
  Reactor reactor;
  auto six =
      reactor.listen({.hostname = "::", .port = 0, .socket = sink(), .ipv6Only = true}).value();
  REQUIRE(refusesTcp(portOf(six)));
  RawSocket::connectTcp(portOf(six), "::1");
  auto four = reactor.listen({.hostname = "0.0.0.0", .port = six.port(), .socket = sink()});
  REQUIRE(four);
  RawSocket::connectTcp(portOf(six));
}

TEST_CASE("localhost listens on both loopbacks with one port") {
  Reactor reactor;
  int opened = 0;
  auto listener =
      reactor
          .listen({.hostname = "localhost",
                   .port = 0,
                   .socket = {.open = [&](auto) { ++opened; }, .data = [](auto, Bytes) {}}})
          .value();
  REQUIRE(listener.hostname() == "localhost");
  const std::vector<Address> addresses = listener.addresses();
  REQUIRE(addresses.size() == 2);
  REQUIRE(addresses[0].port() == listener.port());
  REQUIRE(addresses[1].port() == listener.port());
  REQUIRE(addresses[0].family() != addresses[1].family());
  RawSocket four = RawSocket::connectTcp(portOf(listener), "127.0.0.1");
  RawSocket six = RawSocket::connectTcp(portOf(listener), "::1");
  runUntil(reactor, [&] { return opened == 2; });
  REQUIRE(listener.connectionCount() == 2);
  listener.stop();
  REQUIRE(refusesTcp(portOf(listener), "127.0.0.1"));
  REQUIRE(refusesTcp(portOf(listener), "::1"));
}

TEST_CASE("localhost binds nothing when one of its loopbacks is taken") {
  RawSocket taken = RawSocket::listenTcp("::1");
  Reactor reactor;
  const size_t descriptors = test::openDescriptors();
  const auto listener =
      reactor.listen({.hostname = "localhost", .port = taken.port(), .socket = sink()});
  REQUIRE_FALSE(listener);
  REQUIRE(listener.error().isErrno(EADDRINUSE));
  REQUIRE(test::openDescriptors() == descriptors);
  REQUIRE(refusesTcp(taken.port()));
}

// --- unix --------------------------------------------------------------------------------------------

bool isSocketFile(const std::string& path) {
  struct stat facts {};
  return lstat(path.c_str(), &facts) == 0 && S_ISSOCK(facts.st_mode);
}

void writeFile(const std::string& path) {
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY, 0600);
  REQUIRE(fd >= 0);
  close(fd);
}

TEST_CASE("a unix path becomes a socket file, and stop removes it") {
  TempDir dir;
  const std::string path = dir.path("socket");
  Recorder events;
  Reactor reactor;
  auto listener = reactor.listen({.unix = path, .socket = events.handlers("server")}).value();
  REQUIRE(isSocketFile(path));
  REQUIRE(listener.unixPath() == path);
  REQUIRE(listener.port() == 0);
  REQUIRE(listener.hostname().empty());
  REQUIRE(listener.addresses() == std::vector{Address::unix()});

  RawSocket client = RawSocket::connectUnix(path);
  client.sendAll("hello");
  runUntil(reactor, [&] { return events.has("server data hello"); });
  listener.stop();
  REQUIRE_FALSE(std::filesystem::exists(path));
  REQUIRE(listener.unixPath() == path);
  client.sendAll(", still");
  runUntil(reactor, [&] { return events.has("server data hello, still"); });
  REQUIRE(reactor.listen({.unix = path, .socket = sink()}));
}

TEST_CASE("a reactor that goes away removes the unix paths of its listeners") {
  TempDir dir;
  {
    Reactor reactor;
    REQUIRE(reactor.listen({.unix = dir.path("socket"), .socket = sink()}));
    REQUIRE(isSocketFile(dir.path("socket")));
  }
  REQUIRE_FALSE(std::filesystem::exists(dir.path("socket")));
}

TEST_CASE("stop leaves a file that has taken the place of its own") {
  TempDir dir;
  const std::string path = dir.path("socket");
  Reactor reactor;
  auto listener = reactor.listen({.unix = path, .socket = sink()}).value();
  std::filesystem::remove(path);
  SECTION("an ordinary one") {
    writeFile(path);
    listener.stop();
    REQUIRE(std::filesystem::is_regular_file(path));
  }
  SECTION("another listener's") {
    REQUIRE(reactor.listen({.unix = path, .socket = sink()}));
    listener.stop();
    REQUIRE(isSocketFile(path));
    RawSocket::connectUnix(path);
  }
  SECTION("none at all") {
    listener.stop();
    REQUIRE_FALSE(std::filesystem::exists(path));
  }
}

TEST_CASE("a relative unix path is made absolute and removed wherever the process went since") {
  TempDir dir;
  TempDir elsewhere;
  const int code = inChild([&] {
    if (chdir(dir.path(".").c_str()) != 0) return 1;
    Reactor reactor;
    auto listener = reactor.listen({.unix = "relative", .socket = sink()}).value();
    if (listener.unixPath() != std::filesystem::current_path() / "relative") return 2;
    if (!isSocketFile(dir.path("relative"))) return 3;
    if (chdir(elsewhere.path(".").c_str()) != 0) return 4;
    writeFile("relative");
    listener.stop();
    if (std::filesystem::exists(dir.path("relative"))) return 5;
    return std::filesystem::exists(elsewhere.path("relative")) ? 0 : 6;
  });
  REQUIRE(code == 0);
}

TEST_CASE("a unix path that is taken is refused and left as it is") {
  TempDir dir;
  const std::string path = dir.path("taken");
  Reactor reactor;
  const auto refused = [&] {
    const auto listener = reactor.listen({.unix = path, .socket = sink()});
    REQUIRE_FALSE(listener);
    REQUIRE(listener.error().isErrno(EADDRINUSE));
    REQUIRE(listener.error().step() == Step::bind);
    REQUIRE(listener.error().message().find(path) != std::string::npos);
  };
  SECTION("by a file") {
    writeFile(path);
    refused();
    REQUIRE(std::filesystem::is_regular_file(path));
  }
  SECTION("by a socket that somebody listens on") {
    REQUIRE(reactor.listen({.unix = path, .socket = sink()}));
    refused();
    RawSocket::connectUnix(path);
  }
  SECTION("by a socket that somebody left behind") {
    const int code = inChild([&] {
      Reactor other;
      static_cast<void>(other.listen({.unix = path, .socket = sink()}).value());
      _exit(0);  // without its destructor
      return 0;
    });
    REQUIRE(code == 0);
    refused();
    REQUIRE(isSocketFile(path));
  }
}

TEST_CASE("a unix path in a directory that does not exist is ENOENT") {
  TempDir dir;
  Reactor reactor;
  const auto listener = reactor.listen({.unix = dir.path("no/socket"), .socket = sink()});
  REQUIRE_FALSE(listener);
  REQUIRE(listener.error().isErrno(ENOENT));
  REQUIRE(listener.error().message().find("no/socket") != std::string::npos);
}

TEST_CASE("a unix path in a directory without permission is EACCES") {
  if (geteuid() == 0) return;  // whom nothing is forbidden
  TempDir dir;
  std::filesystem::create_directory(dir.path("closed"));
  REQUIRE(chmod(dir.path("closed").c_str(), 0500) == 0);
  Reactor reactor;
  const auto listener = reactor.listen({.unix = dir.path("closed/socket"), .socket = sink()});
  REQUIRE_FALSE(listener);
  REQUIRE(listener.error().isErrno(EACCES));
}

TEST_CASE("a privileged port is EACCES for those it is forbidden to") {
  if (geteuid() == 0) return;
  Reactor reactor;
  const auto listener = reactor.listen({.hostname = "127.0.0.1", .port = 1, .socket = sink()});
  if (listener) return;  // a system that knows no privileged ports
  REQUIRE(listener.error().isErrno(EACCES));
  REQUIRE(listener.error().message().find("127.0.0.1:1") != std::string::npos);
}

TEST_CASE("a unix path may have as many bytes as the kernel takes, and not one more") {
  if (!WARREN_LINUX) return;
  TempDir dir;
  const std::string base = dir.path("");
  Reactor reactor;
  const auto pathOf = [&](size_t size) { return base + std::string(size - base.size(), 'x'); };
  auto longest = reactor.listen({.unix = pathOf(107), .socket = sink()}).value();
  RawSocket::connectUnix(pathOf(107));
  longest.stop();
  REQUIRE_FALSE(std::filesystem::exists(pathOf(107)));
  for (const size_t size : {size_t{108}, size_t{109}, size_t{5000}}) {
    const auto listener = reactor.listen({.unix = pathOf(size), .socket = sink()});
    REQUIRE_FALSE(listener);
    REQUIRE(listener.error().isErrno(EINVAL));
    INFO(listener.error().message());
    REQUIRE(listener.error().message().find(std::to_string(size - 107) + " bytes too many") !=
            std::string::npos);
  }
  REQUIRE(std::filesystem::is_empty(base));
}

TEST_CASE("an abstract name needs no file and is free again after stop") {
  if (!WARREN_LINUX) return;
  const std::string name = std::string(1, '\0') + "warren-listen-test-" + std::to_string(getpid());
  Reactor reactor;
  auto listener = reactor.listen({.unix = name, .socket = sink()}).value();
  REQUIRE(listener.unixPath() == name);
  const auto second = reactor.listen({.unix = name, .socket = sink()});
  REQUIRE_FALSE(second);
  REQUIRE(second.error().isErrno(EADDRINUSE));
  REQUIRE(second.error().message().find("@warren-listen-test") != std::string::npos);
  listener.stop();
  REQUIRE(reactor.listen({.unix = name, .socket = sink()}));
}

TEST_CASE("a path with a NUL byte inside is refused") {
  TempDir dir;
  Reactor reactor;
  const auto listener =
      reactor.listen({.unix = dir.path("a") + std::string("\0b", 2), .socket = sink()});
  REQUIRE_FALSE(listener);
  REQUIRE(listener.error().isErrno(EINVAL));
  REQUIRE(std::filesystem::is_empty(dir.path("")));
}

// --- adopted descriptors -----------------------------------------------------------------------------

TEST_CASE("a listening descriptor becomes the listener's") {
  const size_t descriptors = test::openDescriptors();
  {
    Recorder events;
    Reactor reactor;
    RawSocket raw = RawSocket::listenTcp();
    const uint16_t port = raw.port();
    const int fd = raw.release();
    auto listener = reactor.listen({.fd = fd, .socket = events.handlers("server")}).value();
    REQUIRE(listener.port() == port);
    REQUIRE(listener.hostname() == "127.0.0.1");
    REQUIRE(listener.addresses() == std::vector{Address::ipv4({127, 0, 0, 1}, port)});
    RawSocket client = RawSocket::connectTcp(port);
    client.sendAll("hello");
    runUntil(reactor, [&] { return events.has("server data hello"); });
    listener.stop();
    REQUIRE(fcntl(fd, F_GETFD) < 0);  // closed
    REQUIRE(refusesTcp(port));
  }
  REQUIRE(test::openDescriptors() == descriptors);
}

TEST_CASE("what comes through an adopted descriptor has TCP_NODELAY on, as everything else") {
  const auto noDelay = [](int fd) {
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(::getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size) == 0);
    return value != 0;
  };
  Reactor reactor;
  RawSocket raw = RawSocket::listenTcp();
  RawSocket client = RawSocket::connectTcp(raw.port());
  const int listening = dup(raw.release());
  const int dialed = dup(client.release());
  REQUIRE_FALSE(noDelay(listening));
  REQUIRE_FALSE(noDelay(dialed));
  REQUIRE(reactor.listen({.fd = dup(listening), .socket = sink()}));
  auto socket = reactor.connect({.fd = dup(dialed), .socket = sink()}).value();
  runUntil(reactor, [&] { return socket.readyState() == ReadyState::open; });
  CHECK(noDelay(listening));  // accepted ones inherit it
  CHECK(noDelay(dialed));
  ::close(listening);
  ::close(dialed);
}

TEST_CASE("an adopted listener that somebody else holds too is silent after stop") {
  Reactor reactor;
  RawSocket raw = RawSocket::listenTcp();
  const uint16_t port = raw.port();
  const int fd = raw.release();
  const int other = dup(fd);
  auto listener = reactor.listen({.fd = fd, .socket = sink()}).value();
  listener.stop();
  const uint64_t before = reactor.stats().events;
  RawSocket client = RawSocket::connectTcp(port);  // the other one still listens
  for (int turn = 0; turn < 5; ++turn) reactor.step();
  REQUIRE(reactor.stats().events == before);
  close(other);
}

TEST_CASE("an adopted unix listener knows its path and leaves the file to whoever made it") {
  TempDir dir;
  const std::string path = dir.path("socket");
  Reactor reactor;
  auto first = reactor.listen({.unix = path, .socket = sink()}).value();
  const int fd = dup(first.descriptors().at(0));
  auto adopted = reactor.listen({.fd = fd, .socket = sink()}).value();
  REQUIRE(adopted.unixPath() == path);
  adopted.stop();
  REQUIRE(isSocketFile(path));
}

TEST_CASE("a descriptor that does not listen is refused and stays the caller's") {
  Reactor reactor;
  const auto refused = [&](int fd, const char* what) {
    INFO(what);
    REQUIRE(fd >= 0);
    const auto listener = reactor.listen({.fd = fd, .socket = sink()});
    REQUIRE_FALSE(listener);
    INFO(listener.error().message());
    REQUIRE(listener.error().message().find("fd " + std::to_string(fd)) != std::string::npos);
    REQUIRE(fcntl(fd, F_GETFD) >= 0);
    REQUIRE((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    close(fd);
    return listener.error();
  };
  REQUIRE(refused(::socket(AF_INET, SOCK_STREAM, 0), "a stream socket").is(Usage::invalid));
  REQUIRE(refused(::socket(AF_INET, SOCK_DGRAM, 0), "a datagram socket").is(Usage::invalid));
  REQUIRE(refused(open("/dev/null", O_RDONLY), "a device").isErrno(ENOTSOCK));
}

TEST_CASE("a descriptor that is not open is refused") {
  Reactor reactor;
  const auto listener = reactor.listen({.fd = 100000000, .socket = sink()});
  REQUIRE_FALSE(listener);
  REQUIRE(listener.error().isErrno(EBADF));
  REQUIRE(listener.error().message().find("fd 100000000") != std::string::npos);
}

// --- refusals ----------------------------------------------------------------------------------------

TEST_CASE("an address in use is refused, alone and with exclusive") {
  Reactor reactor;
  auto first = reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value();
  for (const bool exclusive : {false, true}) {
    const auto second = reactor.listen(
        {.hostname = "127.0.0.1", .port = first.port(), .socket = sink(), .exclusive = exclusive});
    REQUIRE_FALSE(second);
    REQUIRE(second.error().isErrno(EADDRINUSE));
    REQUIRE(second.error().message().find("127.0.0.1:" + std::to_string(first.port())) !=
            std::string::npos);
  }
  const auto sharing = reactor.listen(
      {.hostname = "127.0.0.1", .port = first.port(), .socket = sink(), .reusePort = true});
  REQUIRE_FALSE(sharing);  // both must ask for it
}

TEST_CASE("reusePort lets two reactors share an address and splits its connections") {
  Reactor one;
  Reactor two;
  const auto options = [](int port) {
    return ListenOptions<>{
        .hostname = "127.0.0.1", .port = port, .socket = sink(), .reusePort = true};
  };
  auto first = one.listen(options(0)).value();
  auto second = two.listen(options(first.port())).value();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 64; ++i) clients.push_back(RawSocket::connectTcp(portOf(first)));
  runUntil(one, [&] {
    two.step();
    return first.connectionCount() + second.connectionCount() == 64;
  });
  REQUIRE(first.connectionCount() > 0);  // by chance alone: less than 1 in 10^18
  REQUIRE(second.connectionCount() > 0);
}

TEST_CASE("an address this machine does not have is EADDRNOTAVAIL") {
  Reactor reactor;
  const auto listener = reactor.listen({.hostname = "192.0.2.1", .port = 0, .socket = sink()});
  REQUIRE_FALSE(listener);
  REQUIRE(listener.error().isErrno(EADDRNOTAVAIL));
  REQUIRE(listener.error().step() == Step::bind);
  REQUIRE(listener.error().message().find("192.0.2.1") != std::string::npos);
}

TEST_CASE("a name that does not exist is the resolver's error") {
  Reactor reactor;
  const auto listener =
      reactor.listen({.hostname = "no.such.host.invalid", .port = 0, .socket = sink()});
  REQUIRE_FALSE(listener);
  REQUIRE(listener.error().origin() == Origin::resolver);
  REQUIRE(listener.error().step() == Step::resolve);
  REQUIRE(listener.error().message().find("no.such.host.invalid") != std::string::npos);
}

// Expects a refusal whose message has all of these words, and nothing left behind.
void refuses(const ListenOptions<>& options, Usage code, const std::vector<std::string>& words) {
  Reactor reactor;
  const size_t descriptors = test::openDescriptors();
  const auto listener = reactor.listen(options);
  REQUIRE_FALSE(listener);
  const std::string message = listener.error().message();
  INFO(message);
  REQUIRE(listener.error().is(code));
  REQUIRE(listener.error().step() == Step::options);
  for (const std::string& word : words) REQUIRE_THAT(message, Catch::Matchers::Contains(word));
  REQUIRE(reactor.run() == 0);
  REQUIRE(test::openDescriptors() == descriptors);
}

TEST_CASE("listen refuses a place that is missing, half given or given twice") {
  const SocketHandlers<> table = sink();
  refuses({.socket = table}, Usage::missing, {"hostname", "unix", "fd"});
  refuses({.port = 80, .socket = table}, Usage::missing, {"hostname"});
  refuses({.hostname = "::1", .socket = table}, Usage::missing, {"port"});
  refuses({.hostname = "::1", .port = -1, .socket = table}, Usage::outOfRange, {"port", "-1"});
  refuses({.hostname = "::1", .port = 65536, .socket = table}, Usage::outOfRange,
          {"port", "65536"});
  refuses({.hostname = "::1", .port = 0, .unix = "x", .socket = table}, Usage::conflict,
          {"hostname", "unix"});
  refuses({.hostname = "::1", .port = 0, .fd = 0, .socket = table}, Usage::conflict,
          {"hostname", "fd"});
  refuses({.unix = "x", .fd = 0, .socket = table}, Usage::conflict, {"unix", "fd"});
  refuses({.port = 1, .unix = "x", .socket = table}, Usage::conflict, {"port", "hostname"});
  refuses({.port = 1, .fd = 0, .socket = table}, Usage::conflict, {"port", "hostname"});
  refuses({.fd = -7, .socket = table}, Usage::outOfRange, {"fd", "-7"});
  refuses({.hostname = std::string("a\0b", 3), .port = 1, .socket = table}, Usage::invalid,
          {"hostname", "NUL"});
}

TEST_CASE("listen refuses handlers, limits and times that mean nothing") {
  ListenOptions<> options{.hostname = "127.0.0.1", .port = 0, .socket = sink()};
  SECTION("no handler") {
    options.socket = {};
    refuses(options, Usage::missing, {"data", "drain"});
  }
  SECTION("only handlers that never see a byte") {
    options.socket = {.open = [](auto) {}, .close = [](auto, const Error&) {}};
    refuses(options, Usage::missing, {"data", "drain"});
  }
  SECTION("a handler that is an empty function") {
    options.socket = {.data = std::function<void(Socket<>, Bytes)>()};
    refuses(options, Usage::missing, {"data", "drain"});
  }
  SECTION("exclusive and reusePort") {
    options.reusePort = true;
    options.exclusive = true;
    refuses(options, Usage::conflict, {"exclusive", "reusePort"});
  }
  SECTION("a backlog of zero") {
    options.backlog = 0;
    refuses(options, Usage::outOfRange, {"backlog", "0"});
  }
  SECTION("a backlog below zero") {
    options.backlog = -5;
    refuses(options, Usage::outOfRange, {"backlog", "-5"});
  }
  SECTION("a high-water mark above the limit") {
    options.highWaterMark = 1000;
    options.maxQueued = 999;
    refuses(options, Usage::outOfRange, {"highWaterMark", "1000", "maxQueued", "999"});
  }
  SECTION("a linger time below zero") {
    options.linger.timeout = -1ms;
    refuses(options, Usage::outOfRange, {"linger.timeout", "below zero"});
  }
  SECTION("a linger time that overflows") {
    options.linger.timeout = std::chrono::hours(24 * 366 * 101);
    refuses(options, Usage::outOfRange, {"linger.timeout", "100 years"});
  }
}

TEST_CASE("either data or drain is enough of a table") {
  Reactor reactor;
  REQUIRE(reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = {.drain = [](auto) {}}}));
  REQUIRE(reactor.listen(
      {.hostname = "127.0.0.1", .port = 0, .socket = {.data = [](Socket<>, Bytes) {}}}));
}

// --- data --------------------------------------------------------------------------------------------

TEST_CASE("the option data is what every accepted socket starts with") {
  struct Session {
    std::string name;
    std::shared_ptr<int> shared;
  };
  Reactor reactor;
  std::vector<std::string> names;
  auto listener = reactor
                      .listen<Session>({.hostname = "127.0.0.1",
                                        .port = 0,
                                        .socket = {.open =
                                                       [&](auto socket) {
                                                         names.push_back(socket.data().name);
                                                         socket.data().name = "changed";
                                                       },
                                                   .data = [](auto, Bytes) {}},
                                        .data = {"initial", std::make_shared<int>(5)}})
                      .value();
  const std::weak_ptr<int> shared = listener.data().shared;
  RawSocket one = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return names.size() == 1; });
  REQUIRE(shared.use_count() == 2);
  REQUIRE(listener.data().name == "initial");

  listener.data().name = "from now on";
  RawSocket two = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return names.size() == 2; });
  REQUIRE(names == Lines{"initial", "from now on"});
  REQUIRE(shared.use_count() == 3);
  one.reset();
  two.reset();
  runUntil(reactor, [&] { return listener.connectionCount() == 0; });
  reactor.step();
  REQUIRE(shared.use_count() == 1);
  listener.stop();
  reactor.step();
  REQUIRE(shared.expired());
}

TEST_CASE("Data that cannot be copied starts fresh in every socket") {
  struct MoveOnly {
    std::unique_ptr<int> value = std::make_unique<int>(7);
  };
  Reactor reactor;
  std::vector<int> values;
  auto listener = reactor
                      .listen<MoveOnly>({.hostname = "127.0.0.1",
                                         .port = 0,
                                         .socket = {.open =
                                                        [&](auto socket) {
                                                          values.push_back(*socket.data().value);
                                                          socket.data().value.reset();
                                                        },
                                                    .data = [](auto, Bytes) {}},
                                         .data = {}})
                      .value();
  RawSocket one = RawSocket::connectTcp(portOf(listener));
  RawSocket two = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return values.size() == 2; });
  REQUIRE(values == std::vector{7, 7});
}

TEST_CASE("Data that cannot even be moved, as with an atomic in it, starts fresh in every socket") {
  struct Pinned {
    std::atomic<int> visits = 7;
  };
  Reactor reactor;
  std::vector<int> values;
  const auto open = [&](Socket<Pinned> socket) { values.push_back(socket.data().visits++); };
  const auto data = [](Socket<Pinned>, Bytes) {};
  auto listener =
      reactor
          .listen<Pinned>(
              {.hostname = "127.0.0.1", .port = 0, .socket = {.open = open, .data = data}})
          .value();
  ListenOptions<Pinned> named{
      .hostname = "127.0.0.1", .port = 0, .socket = {.open = open, .data = data}};
  auto other = reactor.listen(std::move(named)).value();
  RawSocket one = RawSocket::connectTcp(portOf(listener));
  RawSocket two = RawSocket::connectTcp(portOf(listener));
  RawSocket three = RawSocket::connectTcp(portOf(other));
  runUntil(reactor, [&] { return values.size() == 3; });
  REQUIRE(values == std::vector{7, 7, 7});
  REQUIRE(listener.data().visits == 7);
}

template <size_t Align, size_t Size>
struct Wide {
  Wide() { bytes.fill(1); }
  alignas(Align) std::array<unsigned char, Size> bytes;
};

TEMPLATE_TEST_CASE("Data of any size and alignment lies in the slot as its type demands", "",
                   (Wide<1, 1>), (Wide<64, 100>), (Wide<256, 300>), (Wide<4096, 5000>),
                   (Wide<16, 100 * 1024>)) {
  using Data = TestType;
  Reactor reactor;
  std::vector<Socket<Data>> sockets;
  auto listener =
      reactor
          .listen<Data>({.hostname = "127.0.0.1",
                         .port = 0,
                         .socket = {.open =
                                        [&](auto socket) {
                                          sockets.push_back(socket);
                                          socket.data().bytes.fill(
                                              static_cast<unsigned char>(sockets.size()));
                                        },
                                    .data = [](auto, Bytes) {}}})
          .value();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 10; ++i) clients.push_back(RawSocket::connectTcp(portOf(listener)));
  runUntil(reactor, [&] { return sockets.size() == 10; });
  for (size_t i = 0; i < sockets.size(); ++i) {
    Data& data = sockets[i].data();
    REQUIRE(reinterpret_cast<uintptr_t>(&data) % alignof(Data) == 0);
    const auto mine = static_cast<unsigned char>(i + 1);
    REQUIRE(std::all_of(data.bytes.begin(), data.bytes.end(),
                        [&](unsigned char byte) { return byte == mine; }));
  }
}

// --- limits ------------------------------------------------------------------------------------------

TEST_CASE("beyond maxConnections clients wait in the queue until one leaves") {
  Recorder events;
  Reactor reactor;
  auto listener = reactor
                      .listen({.hostname = "127.0.0.1",
                               .port = 0,
                               .socket = events.handlers("server"),
                               .maxConnections = 2})
                      .value();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(RawSocket::connectTcp(portOf(listener)));
  runUntil(reactor, [&] { return events.count("server open") == 2; });
  const uint64_t events0 = reactor.stats().events;
  for (int turn = 0; turn < 10; ++turn) reactor.step();
  REQUIRE(events.count("server open") == 2);
  REQUIRE(listener.connectionCount() == 2);
  REQUIRE(reactor.stats().events - events0 <= 2);  // the waiting ones do not keep it busy

  clients[0].reset();
  runUntil(reactor, [&] { return events.count("server open") == 3; });
  REQUIRE(listener.connectionCount() == 2);
  for (size_t i = 1; i < 5; ++i) {
    clients[i].reset();
    runUntil(reactor, [&] { return events.count("server close") == i + 1; });
  }
  runUntil(reactor, [&] { return listener.connectionCount() == 0; });
  REQUIRE(events.count("server open") == 5);
}

TEST_CASE("a close in the middle of a turn lets the next waiting client in") {
  Reactor reactor;
  int opened = 0;
  auto listener = reactor
                      .listen({.hostname = "127.0.0.1",
                               .port = 0,
                               .socket = {.open =
                                              [&](auto socket) {
                                                ++opened;
                                                socket.close();
                                              },
                                          .data = [](auto, Bytes) {}},
                               .maxConnections = 1})
                      .value();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(RawSocket::connectTcp(portOf(listener)));
  runUntil(reactor, [&] { return opened == 20; });
  REQUIRE(listener.connectionCount() == 0);
}

TEST_CASE("a backlog's worth of clients is accepted in bounded portions") {
  Reactor reactor({.acceptBudget = 8});
  size_t opened = 0;
  auto listener =
      reactor
          .listen({.hostname = "127.0.0.1",
                   .port = 0,
                   .socket = {.open = [&](auto) { ++opened; }, .data = [](auto, Bytes) {}}})
          .value();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(RawSocket::connectTcp(portOf(listener)));
  size_t most = 0;
  runUntil(reactor, [&] {
    const size_t before = opened;
    reactor.step();
    most = std::max(most, opened - before);
    return opened == 50;
  });
  REQUIRE(most <= 8);
}

// --- stopping ----------------------------------------------------------------------------------------

TEST_CASE("stop refuses new clients and lets the accepted ones go on") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  RawSocket client = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return events.has("server open"); });
  listener.stop();
  listener.stop();
  REQUIRE(listener.connectionCount() == 1);
  REQUIRE(refusesTcp(portOf(listener)));
  reactor.step();
  client.sendAll("still there");
  runUntil(reactor, [&] { return events.has("server data still there"); });
  client.shutdownWrite();
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.of("server") == Lines{"open", "data still there", "end", "close clean"});
  REQUIRE(listener.connectionCount() == 0);
}

TEST_CASE("stop with closeActive closes every socket inside the call") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(RawSocket::connectTcp(portOf(listener)));
  runUntil(reactor, [&] { return events.count("server open") == 5; });
  SECTION("at once") { listener.stop(true); }
  SECTION("after a stop without") {
    listener.stop();
    reactor.step();
    REQUIRE(events.count("server close") == 0);
    listener.stop(true);
  }
  REQUIRE(events.count("server close clean") == 5);
  REQUIRE(listener.connectionCount() == 0);
  listener.stop(true);
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines().size() == 10);
  for (RawSocket& client : clients) REQUIRE(client.readAll().empty());
}

TEST_CASE("a stop with closeActive delivers what was accepted before") {
  const std::vector<std::byte> bytes = test::pattern(8 << 20, 1);
  Reactor reactor;
  int opened = 0;
  auto listener = reactor
                      .listen({.hostname = "127.0.0.1",
                               .port = 0,
                               .socket = {.open =
                                              [&](auto socket) {
                                                ++opened;
                                                socket.send(bytes);
                                              },
                                          .data = [](auto, Bytes) {}}})
                      .value();
  RawSocket client = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return opened == 1; });
  listener.stop(true);
  std::string received;
  while (!client.ended()) {
    received += client.readSome();
    reactor.step();
  }
  REQUIRE(received.size() == bytes.size());
  REQUIRE(test::hash(asBytes(received)) == test::hash(bytes));
}

TEST_CASE("a close handler may stop its listener again, and the sockets beside it") {
  Reactor reactor;
  int closed = 0;
  Listener<> listener;
  listener = reactor
                 .listen({.hostname = "127.0.0.1",
                          .port = 0,
                          .socket = {.data = [](auto, Bytes) {},
                                     .close =
                                         [&](auto, const Error&) {
                                           ++closed;
                                           listener.stop(true);
                                         }}})
                 .value();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(RawSocket::connectTcp(portOf(listener)));
  runUntil(reactor, [&] { return listener.connectionCount() == 20; });
  clients[3].reset();
  runUntil(reactor, [&] { return closed == 20; });
  REQUIRE(reactor.run() == 0);
  REQUIRE(closed == 20);
}

TEST_CASE("stop in open ends the accepting at once") {
  Reactor reactor;
  int opened = 0;
  Listener<> listener;
  listener = reactor
                 .listen({.hostname = "localhost",
                          .port = 0,
                          .socket = {.open =
                                         [&](auto socket) {
                                           ++opened;
                                           socket.listener().stop();
                                           REQUIRE(socket.listener() == listener);
                                         },
                                     .data = [](auto, Bytes) {}}})
                 .value();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(RawSocket::connectTcp(portOf(listener)));
  runUntil(reactor, [&] { return opened > 0; });
  for (int turn = 0; turn < 5; ++turn) reactor.step();
  REQUIRE(opened == 1);
  REQUIRE(listener.connectionCount() == 1);
}

TEST_CASE("a listener may be stopped in open along with a hundred others") {
  Reactor reactor;
  int opened = 0;
  auto listener =
      reactor
          .listen({.hostname = "localhost",
                   .port = 0,
                   .socket = {
                       .open =
                           [&](auto socket) {
                             ++opened;
                             socket.listener().stop();
                             for (int others = 0; others < 100; ++others) {
                               reactor
                                   .listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()})
                                   .value()
                                   .stop();
                             }
                           },
                       .data = [](auto, Bytes) {}}})
          .value();
  RawSocket one = RawSocket::connectTcp(portOf(listener), "::1");
  RawSocket two = RawSocket::connectTcp(portOf(listener), "::1");
  runUntil(reactor, [&] { return opened > 0; });
  for (int turn = 0; turn < 5; ++turn) reactor.step();
  REQUIRE(opened == 1);
  one.close();
  two.close();
  REQUIRE(reactor.run() == 0);
}

TEST_CASE("the port is free at once after stop, also with connections left") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  RawSocket client = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return events.has("server open"); });
  listener.stop();
  auto again = reactor.listen(
      {.hostname = "127.0.0.1", .port = listener.port(), .socket = events.handlers("again")});
  REQUIRE(again);
  RawSocket late = RawSocket::connectTcp(portOf(*again));
  runUntil(reactor, [&] { return events.has("again open"); });
  again->stop(true);  // our side closes first: the port is in TIME_WAIT
  reactor.step();
  REQUIRE(reactor.listen({.hostname = "127.0.0.1", .port = listener.port(), .socket = sink()}));
}

TEST_CASE("clients that wait in the queue are reset by stop") {
  Reactor reactor;
  auto listener = reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value();
  RawSocket client = RawSocket::connectTcp(portOf(listener));
  listener.stop();
  REQUIRE_THROWS_AS(client.readAll(), std::system_error);
}

// --- reload and references ---------------------------------------------------------------------------

TEST_CASE("a reloaded table serves the sockets there are and those to come") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("old")})
          .value();
  RawSocket first = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return events.has("old open"); });
  REQUIRE(listener.reload(events.handlers("new")));
  first.sendAll("x");
  RawSocket second = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return events.has("new open") && events.has("new data x"); });
  REQUIRE(events.count("old ") == 1);
}

TEST_CASE("a reload without data and drain is refused and the old table stays") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("old")})
          .value();
  const auto refused = listener.reload({.open = [](auto) {}});
  REQUIRE_FALSE(refused);
  REQUIRE(refused.error().is(Usage::missing));
  RawSocket client = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return events.has("old open"); });
}

TEST_CASE("a stopped listener is reloaded for its sockets until it has none left") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("old")})
          .value();
  RawSocket client = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return events.has("old open"); });
  listener.stop();
  REQUIRE(listener.reload(events.handlers("new")));
  client.close();
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.lines() == Lines{"old open", "new end", "new close clean"});
  REQUIRE(listener.reload(events.handlers("late")).error().is(Usage::closed));
#if WARREN_LIBRARY_EXCEPTIONS
  REQUIRE_THROWS_AS(listener.data(), BadResult);
#endif
}

TEST_CASE("the captures of a replaced table live until the end of the turn, and no longer") {
  auto captured = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = captured;
  bool aliveAfterReload = false;
  Reactor reactor;
  Listener<> listener;
  listener = reactor
                 .listen({.hostname = "127.0.0.1",
                          .port = 0,
                          .socket = {.open =
                                         [&, captured](auto) {
                                           REQUIRE(listener.reload(sink()));
                                           aliveAfterReload = *captured == 1;
                                         },
                                     .data = [](auto, Bytes) {}}})
                 .value();
  captured.reset();
  RawSocket client = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return aliveAfterReload; });
  reactor.step();
  REQUIRE(watch.expired());
}

TEST_CASE("a listener keeps run going unless it is unreferenced or stopped") {
  Reactor reactor;
  auto listener = reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = sink()}).value();
  REQUIRE(reactor.step());
  listener.unref();
  listener.unref();
  REQUIRE(reactor.run() == 0);
  listener.ref();
  listener.ref();
  REQUIRE(reactor.step());
  listener.stop();
  listener.ref();
  REQUIRE(reactor.run() == 0);
}

TEST_CASE("an unreferenced listener whose sockets are referenced keeps run going through them") {
  Recorder events;
  Reactor reactor;
  auto listener =
      reactor.listen({.hostname = "127.0.0.1", .port = 0, .socket = events.handlers("server")})
          .value();
  listener.unref();
  RawSocket client = RawSocket::connectTcp(portOf(listener));
  runUntil(reactor, [&] { return events.has("server open"); });
  REQUIRE(reactor.step());
  client.close();
  REQUIRE(reactor.run() == 0);
  REQUIRE(events.has("server close"));
}

// --- no descriptors left -----------------------------------------------------------------------------

// 200 clients of another process against a server that may have 64 descriptors.
int starveAndRecover() {
  const rlimit few{64, 64};
  int reported = 0;
  int lastError = 0;
  size_t closed = 0;
  Reactor reactor;
  std::array<int, 2> orders{};
  std::array<int, 2> answers{};
  if (pipe(orders.data()) != 0 || pipe(answers.data()) != 0) return 1;
  auto listener = reactor
                      .listen({.hostname = "127.0.0.1",
                               .port = 0,
                               .socket = {.data = [](auto, Bytes) {},
                                          .close = [&](auto, const Error&) { ++closed; }},
                               .acceptError =
                                   [&](const Error& error) {
                                     ++reported;
                                     lastError = error.code();
                                   }})
                      .value();
  const uint16_t port = portOf(listener);
  const pid_t crowd = fork();
  if (crowd < 0) return 2;
  if (crowd == 0) {
    char order = 0;
    std::vector<RawSocket> clients;
    for (int i = 0; i < 200; ++i) clients.push_back(RawSocket::connectTcp(port));
    if (write(answers[1], "x", 1) != 1 || read(orders[0], &order, 1) != 1) _exit(1);
    clients.clear();
    _exit(0);
  }
  if (setrlimit(RLIMIT_NOFILE, &few) != 0) return 3;
  char answer = 0;
  if (read(answers[0], &answer, 1) != 1) return 4;

  runUntil(reactor, [&] { return reported > 0; });
  if (lastError != EMFILE) return 5;
  const uint64_t turns = reactor.stats().turns;
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - begin < 500ms) reactor.step(100ms);
  if (reported != 1) return 6;
  if (reactor.stats().turns - turns > 50) return 7;  // a spin has many thousands

  const size_t served = listener.connectionCount();
  if (served < 30) return 8;
  if (write(orders[1], "x", 1) != 1) return 9;
  int status = 0;
  if (waitpid(crowd, &status, 0) < 0 || status != 0) return 10;
  // Most clients that waited are gone, but none may be left: a new one is served.
  runUntil(reactor, [&] { return closed >= served && listener.connectionCount() == 0; });
  RawSocket late = RawSocket::connectTcp(port);
  runUntil(reactor, [&] { return listener.connectionCount() == 1; });
  return 0;
}

TEST_CASE("without descriptors accepting is reported once, rests, and goes on when clients leave") {
  REQUIRE(inChild(starveAndRecover) == 0);
}

}  // namespace
}  // namespace warren
