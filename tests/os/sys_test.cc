#include "os/sys.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "loopback.h"
#include "os/fd.h"
#include "os/platform.h"
#include "support/catch.h"

namespace warren::os {
namespace {

using namespace std::string_literals;

constexpr size_t kPathRoom = sizeof(sockaddr_un::sun_path);

Family anyFamily() { return GENERATE(Family::ipv4, Family::unix); }

bool isReady(const Fd& fd) {
  return (::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0 &&
         (::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0;
}

int optionOf(const Fd& fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  REQUIRE(::getsockopt(fd.get(), level, name, &value, &size) == 0);
  return value;
}

sys::Answer receive(const Fd& fd) {
  std::array<std::byte, 64> bytes;
  return sys::recv(fd.get(), bytes);
}

// A path of `size` bytes in a folder.
std::string pathOfSize(const TemporaryFolder& folder, size_t size) {
  const std::string begin = folder.path() + '/';
  return begin + std::string(size - begin.size(), 'n');
}

// Takes a signal for as long as it lives, without SA_RESTART.
class Handler {
 public:
  Handler(int signal, void (*function)(int)) : signal_(signal) {
    struct sigaction action {};
    action.sa_handler = function;
    REQUIRE(::sigaction(signal, &action, &before_) == 0);
  }
  ~Handler() { ::sigaction(signal_, &before_, nullptr); }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

 private:
  int signal_;
  struct sigaction before_;
};

TEST_CASE("every descriptor is non-blocking and close-on-exec", "[sys]") {
  const Family family = anyFamily();
  const Pair pair(family);
  REQUIRE(isReady(pair.far));
  REQUIRE(isReady(pair.near));
  REQUIRE((::fcntl(fdOf(sys::spare()).get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("an adopted descriptor becomes non-blocking and close-on-exec", "[sys]") {
  std::array<int, 2> ends;
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
  const Fd near(ends[0]);
  Fd far(ends[1]);
  REQUIRE(!isReady(near));
  REQUIRE(sys::adopt(near.get()) == 0);
  REQUIRE(isReady(near));
  REQUIRE(!isReady(far));
  const int gone = far.get();
  far.reset();
  REQUIRE(sys::adopt(gone) == -EBADF);
  REQUIRE(sys::adopt(-1) == -EBADF);
}

TEST_CASE("TCP sockets do not delay small writes, accepted ones neither", "[sys]") {
  const Pair pair(Family::ipv4);
  REQUIRE(optionOf(pair.far, IPPROTO_TCP, TCP_NODELAY) != 0);
  REQUIRE(optionOf(pair.near, IPPROTO_TCP, TCP_NODELAY) != 0);
  REQUIRE(sys::setNoDelay(pair.near.get(), false) == 0);
  REQUIRE(optionOf(pair.near, IPPROTO_TCP, TCP_NODELAY) == 0);
  REQUIRE(sys::setNoDelay(Pair(Family::unix).near.get(), true) < 0);
}

TEST_CASE("there is no socket of no family", "[sys]") {
  REQUIRE(sys::socket(Family::none) == -EAFNOSUPPORT);
}

// --- streams -------------------------------------------------------------------------------------

TEST_CASE("recv gives bytes, then blocked, then 0 for the end", "[sys]") {
  const Pair pair(anyFamily());
  REQUIRE(sys::blocked(receive(pair.near)));
  sendAll(pair.far, "hello");
  await(pair.near, POLLIN);
  REQUIRE(receive(pair.near) == 5);
  REQUIRE(sys::blocked(receive(pair.near)));
  REQUIRE(sys::shutdown(pair.far.get(), sys::Side::write) == 0);
  await(pair.near, POLLIN);
  REQUIRE(receive(pair.near) == 0);
  REQUIRE(receive(pair.near) == 0);
}

TEST_CASE("only EAGAIN is blocked", "[sys]") {
  REQUIRE(sys::blocked(-EAGAIN));
  REQUIRE(sys::blocked(-EWOULDBLOCK));
  for (const sys::Answer answer : {0, 1, -EINPROGRESS, -ECONNRESET, -EINTR}) {
    REQUIRE(!sys::blocked(answer));
  }
}

TEST_CASE("send takes what there is room for and is blocked then", "[sys]") {
  const Pair pair(anyFamily());
  const size_t taken = sendUntilBlocked(pair.near);
  REQUIRE(taken > 0);
  size_t received = 0;
  while (received < taken) {
    await(pair.far, POLLIN);
    received += receiveAll(pair.far).size();
  }
  REQUIRE(received == taken);
}

TEST_CASE("segments are sent in their order, empty ones too", "[sys]") {
  const Pair pair(anyFamily());
  const std::array<Bytes, sys::kMaxSegments> segments{
      asBytes("one "),  Bytes(),          asBytes("two "), asBytes("three "),
      asBytes("four "), asBytes("five "), Bytes(),         asBytes("six")};
  REQUIRE(sys::sendSegments(pair.near.get(), segments) == 27);
  await(pair.far, POLLIN);
  REQUIRE(receiveAll(pair.far) == "one two three four five six");
  REQUIRE(sys::sendSegments(pair.near.get(), {}) == 0);
  REQUIRE(sys::sendSegments(pair.near.get(), std::array{Bytes(), Bytes()}) == 0);
}

TEST_CASE("writing to a dead peer is an error, not a SIGPIPE", "[sys]") {
  const Handler deadly(SIGPIPE, SIG_DFL);
  const bool gathered = GENERATE(false, true);
  Pair pair(anyFamily());
  sys::reset(pair.far.release());
  await(pair.near, POLLHUP);
  const std::array<Bytes, 2> segments{asBytes("a"), asBytes("b")};
  const auto send = [&] {
    return gathered ? sys::sendSegments(pair.near.get(), segments)
                    : sys::send(pair.near.get(), segments[0]);
  };
  const sys::Answer first = send();
  REQUIRE((first == -ECONNRESET || first == -EPIPE));
  REQUIRE(send() == -EPIPE);
  REQUIRE(send() == -EPIPE);
}

TEST_CASE("reset tells the peer of a TCP socket so, and drops what was not sent", "[sys]") {
  Pair pair(Family::ipv4);
  sendAll(pair.near, "unread by far");
  sys::reset(pair.far.release());
  await(pair.near, POLLHUP);
  REQUIRE(receive(pair.near) == -ECONNRESET);
}

TEST_CASE("shutdown ends one direction and leaves the other", "[sys]") {
  const Pair pair(anyFamily());
  REQUIRE(sys::shutdown(pair.near.get(), sys::Side::write) == 0);
  REQUIRE(sys::send(pair.near.get(), asBytes("late")) == -EPIPE);
  sendAll(pair.far, "still open");
  await(pair.near, POLLIN);
  REQUIRE(receive(pair.near) == 10);
  REQUIRE(sys::shutdown(pair.near.get(), sys::Side::read) == 0);
  REQUIRE(receive(pair.near) == 0);
}

TEST_CASE("shutdown of both sides is the peer's end too", "[sys]") {
  const Pair pair(anyFamily());
  REQUIRE(sys::shutdown(pair.near.get(), sys::Side::both) == 0);
  await(pair.far, POLLIN);
  REQUIRE(receive(pair.far) == 0);
  const Fd lonely = fdOf(sys::socket(Family::ipv4));
  REQUIRE(sys::shutdown(lonely.get(), sys::Side::both) == -ENOTCONN);
}

int interruptions = 0;
int answeringFd = -1;

// The third interruption brings what the interrupted call waits for.
void interruptAndAnswer(int) {
  if (++interruptions == 3) [[maybe_unused]]
    const auto sent = ::write(answeringFd, "!", 1);
}

TEST_CASE("an interrupted call is made again", "[sys]") {
  std::array<int, 2> ends;  // blocking ones: others are not interrupted
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
  const Fd near(ends[0]);
  const Fd far(ends[1]);
  interruptions = 0;
  answeringFd = far.get();
  const Handler handler(SIGALRM, interruptAndAnswer);
  const itimerval often{{0, 2000}, {0, 2000}};
  const itimerval never{};
  REQUIRE(::setitimer(ITIMER_REAL, &often, nullptr) == 0);
  const sys::Answer received = receive(near);
  REQUIRE(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
  REQUIRE(received == 1);
  REQUIRE(interruptions >= 3);
}

// --- making --------------------------------------------------------------------------------------

TEST_CASE("each end knows its own and the other's address", "[sys]") {
  const Family family = GENERATE(Family::ipv4, Family::ipv6);
  if (family == Family::ipv6 && !hasIpv6()) return;
  const Server server(family);
  const Fd far = server.connect();
  Address peer;
  const Fd near = server.accept(peer);
  REQUIRE(peer.family() == family);
  REQUIRE(peer == sys::localAddress(far.get()));
  REQUIRE(peer == sys::peerAddress(near.get()));
  REQUIRE(server.address() == sys::peerAddress(far.get()));
  REQUIRE(server.address() == sys::localAddress(near.get()));
  REQUIRE(server.address() == loopback(family, server.address().port()));
  REQUIRE(server.address().port() != 0);
}

TEST_CASE("unix sockets have the address of their kind, and unconnected ones no peer", "[sys]") {
  const Server server(Family::unix);
  const Fd far = server.connect();
  Address peer;
  const Fd near = server.accept(peer);
  REQUIRE(peer == Address::unix());
  REQUIRE(sys::peerAddress(far.get()) == Address::unix());
  REQUIRE(sys::peerAddress(server.fd().get()) == Address());
  REQUIRE(sys::peerAddress(-1) == Address());
  REQUIRE(sys::localAddress(-1) == Address());
}

TEST_CASE("accept without a client is blocked and leaves the address alone", "[sys]") {
  const Server server(anyFamily());
  Address peer = loopback(Family::ipv4, 7);
  REQUIRE(sys::blocked(sys::accept(server.fd().get(), peer)));
  REQUIRE(peer == loopback(Family::ipv4, 7));
  const Fd notListening = fdOf(sys::socket(Family::ipv4));
  REQUIRE(sys::accept(notListening.get(), peer) == -EINVAL);
}

TEST_CASE("a port is shared only when all who bind it ask for that", "[sys]") {
  const auto bindTo = [](const Fd& fd, const Address& address, bool share) {
    sys::BindOptions options;
    options.reusePort = share;
    return sys::bind(fd.get(), address, options);
  };
  const bool firstShares = GENERATE(false, true);
  const bool secondShares = GENERATE(false, true);
  const Fd first = fdOf(sys::socket(Family::ipv4));
  const Fd second = fdOf(sys::socket(Family::ipv4));
  REQUIRE(bindTo(first, loopback(Family::ipv4), firstShares) == 0);
  REQUIRE(sys::listen(first.get(), 1) == 0);
  const sys::Answer bound = bindTo(second, sys::localAddress(first.get()), secondShares);
  REQUIRE(bound == (firstShares && secondShares ? 0 : -EADDRINUSE));
}

TEST_CASE("SO_REUSEADDR is set only when asked for", "[sys]") {
  const bool reuse = GENERATE(false, true);
  const Fd fd = fdOf(sys::socket(Family::ipv4));
  sys::BindOptions options;
  options.reuseAddress = reuse;
  REQUIRE(sys::bind(fd.get(), loopback(Family::ipv4), options) == 0);
  REQUIRE((optionOf(fd, SOL_SOCKET, SO_REUSEADDR) != 0) == reuse);
}

TEST_CASE("ipv6Only decides whether [::] means IPv4 as well", "[sys]") {
  if (!hasIpv6()) return;
  sys::BindOptions options;
  options.ipv6Only = GENERATE(false, true);
  const Fd any = fdOf(sys::socket(Family::ipv6));
  REQUIRE(sys::bind(any.get(), Address::ipv6({}, 0), options) == 0);
  REQUIRE(optionOf(any, IPPROTO_IPV6, IPV6_V6ONLY) == int{options.ipv6Only});
  REQUIRE(sys::listen(any.get(), 1) == 0);
  const Fd client = fdOf(sys::socket(Family::ipv4));
  const uint16_t port = sys::localAddress(any.get()).port();
  const sys::Answer answer = sys::connect(client.get(), loopback(Family::ipv4, port));
  if (answer == -EINPROGRESS) await(client, POLLOUT);
  const bool refused = answer == -ECONNREFUSED || sys::pendingError(client.get()) == ECONNREFUSED;
  REQUIRE(refused == options.ipv6Only);
}

TEST_CASE("a refused connect leaves its reason, which is told once", "[sys]") {
  const Fd bound = fdOf(sys::socket(Family::ipv4));  // it does not listen
  REQUIRE(sys::bind(bound.get(), loopback(Family::ipv4), {}) == 0);
  const Fd client = fdOf(sys::socket(Family::ipv4));
  const sys::Answer answer = sys::connect(client.get(), sys::localAddress(bound.get()));
  if (answer == -EINPROGRESS) {
    await(client, POLLOUT);
    REQUIRE(sys::pendingError(client.get()) == ECONNREFUSED);
  } else {
    REQUIRE(answer == -ECONNREFUSED);
  }
  REQUIRE(sys::pendingError(client.get()) == 0);
  REQUIRE(sys::pendingError(-1) == EBADF);
}

// --- unix paths ----------------------------------------------------------------------------------

TEST_CASE("a path that just fits works, and one byte more is refused", "[sys]") {
  const TemporaryFolder folder;
  const std::string fits = pathOfSize(folder, kPathRoom - 1);
  const Fd listener = fdOf(sys::socket(Family::unix));
  REQUIRE(sys::bindUnix(listener.get(), fits) == 0);
  REQUIRE(sys::unixPath(listener.get()) == fits);
  REQUIRE(sys::fileId(fits).found);
  REQUIRE(sys::listen(listener.get(), 1) == 0);

  const Fd other = fdOf(sys::socket(Family::unix));
  for (const size_t size : {kPathRoom, kPathRoom + 1, size_t{4096}}) {
    const std::string tooLong = pathOfSize(folder, size);
    REQUIRE(sys::bindUnix(other.get(), tooLong) == -EINVAL);
    REQUIRE(sys::connectUnix(other.get(), tooLong) == -EINVAL);
  }
  REQUIRE(sys::connectUnix(other.get(), fits) == 0);
  REQUIRE(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("a path that means another one is refused", "[sys]") {
  const TemporaryFolder folder;
  const Fd fd = fdOf(sys::socket(Family::unix));
  const std::string withNul = folder.path() + "/a\0b"s;
  for (const std::string& path : {std::string(), withNul}) {
    REQUIRE(sys::bindUnix(fd.get(), path) == -EINVAL);
    REQUIRE(sys::connectUnix(fd.get(), path) == -EINVAL);
  }
  REQUIRE(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("bind does not take a path that exists, and connect wants one that does", "[sys]") {
  const Server server(Family::unix);
  const Fd fd = fdOf(sys::socket(Family::unix));
  REQUIRE(sys::bindUnix(fd.get(), server.path()) == -EADDRINUSE);
  REQUIRE(sys::connectUnix(fd.get(), server.path() + "x") == -ENOENT);
}

TEST_CASE("abstract names are Linux's, and take every byte", "[sys]") {
  std::string name = "\0warren"s + std::to_string(::getpid()) + "\0\xff"s;
  name.resize(GENERATE_COPY(name.size(), kPathRoom), 'n');
  const Fd listener = fdOf(sys::socket(Family::unix));
  if (!WARREN_LINUX) {
    REQUIRE(sys::bindUnix(listener.get(), name) == -EINVAL);
    return;
  }
  REQUIRE(sys::bindUnix(listener.get(), name) == 0);
  REQUIRE(sys::unixPath(listener.get()) == name);
  REQUIRE(sys::listen(listener.get(), 1) == 0);
  const Fd client = fdOf(sys::socket(Family::unix));
  REQUIRE(sys::connectUnix(client.get(), name.substr(0, name.size() - 1)) == -ECONNREFUSED);
  REQUIRE(sys::connectUnix(client.get(), name) == 0);
  const Fd other = fdOf(sys::socket(Family::unix));
  REQUIRE(sys::bindUnix(other.get(), name) == -EADDRINUSE);
  REQUIRE(sys::bindUnix(other.get(), '\0' + std::string(kPathRoom, 'n')) == -EINVAL);
}

TEST_CASE("only a bound unix socket has a path", "[sys]") {
  const Server server(Family::unix);
  const Fd far = server.connect();
  const Fd near = server.accept();
  REQUIRE(sys::unixPath(server.fd().get()) == server.path());
  REQUIRE(sys::unixPath(near.get()) == server.path());
  REQUIRE(sys::unixPath(far.get()).empty());
  REQUIRE(sys::unixPath(Pair(Family::ipv4).near.get()).empty());
  REQUIRE(sys::unixPath(-1).empty());
}

TEST_CASE("a full backlog of a unix listener is not a connection under way", "[sys]") {
  const Server server(Family::unix, 1);
  std::vector<Fd> clients;
  sys::Answer answer = 0;
  while (answer == 0) {
    REQUIRE(clients.size() < 100);
    clients.push_back(fdOf(sys::socket(Family::unix)));
    answer = sys::connectUnix(clients.back().get(), server.path());
  }
  REQUIRE(answer == (WARREN_LINUX ? -EAGAIN : -ECONNREFUSED));
}

// --- facts and options ---------------------------------------------------------------------------

TEST_CASE("kindOf tells streams, listeners and the rest apart", "[sys]") {
  const auto kindOf = [](const Fd& fd) { return static_cast<sys::Kind>(sys::kindOf(fd.get())); };
  const Family family = anyFamily();
  REQUIRE(kindOf(Server(family).fd()) == sys::Kind::listener);
  REQUIRE(kindOf(Pair(family).near) == sys::Kind::stream);
  REQUIRE(kindOf(fdOf(sys::socket(family))) == sys::Kind::stream);
  REQUIRE(kindOf(Fd(::socket(AF_INET, SOCK_DGRAM, 0))) == sys::Kind::other);
  REQUIRE(sys::kindOf(fdOf(sys::spare()).get()) == -ENOTSOCK);
  REQUIRE(sys::kindOf(-1) == -EBADF);
}

TEST_CASE("keep-alive is set with its time, without, and off", "[sys]") {
  const Pair pair(Family::ipv4);
  const int fd = pair.near.get();
  REQUIRE(sys::setKeepAlive(fd, true, 0) == 0);
  REQUIRE(optionOf(pair.near, SOL_SOCKET, SO_KEEPALIVE) != 0);
#if defined(TCP_KEEPIDLE)
  const int usual = optionOf(pair.near, IPPROTO_TCP, TCP_KEEPIDLE);
  REQUIRE(sys::setKeepAlive(fd, true, usual + 1) == 0);
  REQUIRE(optionOf(pair.near, IPPROTO_TCP, TCP_KEEPIDLE) == usual + 1);
  REQUIRE(sys::setKeepAlive(fd, true, -1) == -EINVAL);
#endif
  REQUIRE(sys::setKeepAlive(fd, false, 0) == 0);
  REQUIRE(optionOf(pair.near, SOL_SOCKET, SO_KEEPALIVE) == 0);
  REQUIRE(sys::setKeepAlive(-1, true, 0) == -EBADF);
}

#if WARREN_LINUX
TEST_CASE("a dead peer is probed well before its time is over, and given up then", "[sys]") {
  const Pair pair(Family::ipv4);
  REQUIRE(sys::setDeadPeer(pair.near.get(), 30'000) == 0);
  const auto tcpOption = [&](int name) { return optionOf(pair.near, IPPROTO_TCP, name); };
  REQUIRE(optionOf(pair.near, SOL_SOCKET, SO_KEEPALIVE) != 0);
  REQUIRE(tcpOption(TCP_USER_TIMEOUT) == 30'000);
  REQUIRE(tcpOption(TCP_KEEPIDLE) == 15);
  // The user timeout counts and not the probes, but it is looked at only when one is due.
  const int probing = tcpOption(TCP_KEEPINTVL) * tcpOption(TCP_KEEPCNT);
  REQUIRE(15 + probing <= 30);
  REQUIRE(15 + probing >= 25);
  REQUIRE(sys::setDeadPeer(pair.near.get(), 0) == 0);
  REQUIRE(optionOf(pair.near, SOL_SOCKET, SO_KEEPALIVE) == 0);
  REQUIRE(tcpOption(TCP_USER_TIMEOUT) == 0);
}
#endif

// --- files, time, names, processes ---------------------------------------------------------------

TEST_CASE("a file is known by itself, not by its name", "[sys]") {
  const TemporaryFolder folder;
  const Server server(Family::unix);
  const std::string link = folder.path() + "/link";
  REQUIRE(!sys::fileId(link).found);
  REQUIRE(sys::fileId(link) == sys::FileId());
  const sys::FileId socketFile = sys::fileId(server.path());
  REQUIRE(socketFile.found);
  REQUIRE(socketFile == sys::fileId(server.path()));
  std::filesystem::create_symlink(server.path(), link);
  REQUIRE(sys::fileId(link) != socketFile);  // the link would be unlinked, not the socket
  std::filesystem::rename(server.path(), link);
  REQUIRE(sys::fileId(link) == socketFile);
  sys::unlink(link);
  REQUIRE(!sys::fileId(link).found);
  sys::unlink(link);
}

TEST_CASE("a relative path becomes absolute and others stay", "[sys]") {
  const std::string here = std::filesystem::current_path();
  REQUIRE(sys::absolutePath("socket") == here + "/socket");
  REQUIRE(sys::absolutePath("../a/./socket") == here + "/../a/./socket");
  REQUIRE(sys::absolutePath("/run/socket") == "/run/socket");
  REQUIRE(sys::absolutePath("\0name"s) == "\0name"s);
  REQUIRE(sys::absolutePath("").empty());
}

TEST_CASE("the clock counts milliseconds and never runs backwards", "[sys]") {
  const uint64_t begin = sys::now() / 1'000'000;
  uint64_t last = begin;
  for (int i = 0; i < 10000; ++i) {
    const uint64_t time = sys::now() / 1'000'000;
    REQUIRE((time >= last && time - begin < 1000000));
    last = time;
  }
  REQUIRE(::poll(nullptr, 0, 20) == 0);
  REQUIRE(sys::now() / 1'000'000 - begin >= 20);
}

TEST_CASE("the clock is the monotonic one: setting the time of day does not move it", "[sys]") {
  const auto monotonic = [] {
    timespec time{};
    REQUIRE(::clock_gettime(CLOCK_MONOTONIC, &time) == 0);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
  };
  const uint64_t before = monotonic();
  const uint64_t time = sys::now();
  const uint64_t after = monotonic();
  REQUIRE(before <= time);
  REQUIRE(time <= after);
}

TEST_CASE("a forked child counts its fork, its parent does not", "[sys]") {
  const uint32_t before = sys::forkCount();
  REQUIRE(sys::forkCount() == before);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(sys::forkCount() == before + 1 ? 0 : 1);
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  REQUIRE(sys::forkCount() == before);
}

}  // namespace
}  // namespace warren::os
