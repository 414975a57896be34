// The load: connections to an echo server on loopback, on bare epoll, with every byte that comes back
// compared. Prints one line of JSON.
//
//   load --port P [--pid P] [--connections N] [--seconds S | --messages N]
//        [--size B] [--depth D]    ping-pong: D messages of B bytes at once, then all of them back
//        [--firehose N]            N more connections that keep kWindow bytes in flight
//        [--churn]                 connect, one message, its echo, end, the server's end; again
//        [--idle]                  only connects; what that costs the server's memory, and then its time
//        [--tls]                   all of it in TLS; the handshakes one after the other
//        [--lockstep]              everybody waits until everybody is done, and at the end the server is
//                                  killed before it sees the connections go: counts repeat exactly
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cinttypes>
#include <csignal>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bench/channel.h"

namespace {

using bench::must;

constexpr size_t kWindow = size_t{1} << 20;  // bytes in flight of a firehose
constexpr size_t kChunk = size_t{256} << 10;
constexpr size_t kPeriod = 65521;  // of the pattern: a prime, so that no buffer size divides it

uint64_t now() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// --- what was asked ----------------------------------------------------------------------------------

class Options {
 public:
  Options(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const bool value = i + 1 < argc && std::strncmp(argv[i + 1], "--", 2) != 0;
      values_[argv[i]] = value ? argv[i + 1] : "1";
      i += value;
    }
  }
  double number(const char* name, double otherwise) const {
    const auto found = values_.find(name);
    return found != values_.end() ? std::stod(found->second) : otherwise;
  }
  size_t count(const char* name, size_t otherwise) const {
    return static_cast<size_t>(number(name, static_cast<double>(otherwise)));
  }
  bool flag(const char* name) const { return values_.count(name) != 0; }

 private:
  std::map<std::string, std::string> values_;
};

// --- what the server uses ----------------------------------------------------------------------------

// Nanoseconds on a processor, so far.
uint64_t cpuOf(int pid) {
  uint64_t spent = 0;
  std::ifstream("/proc/" + std::to_string(pid) + "/schedstat") >> spent;
  return spent;
}

// Bytes of its own memory that are there.
size_t memoryOf(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::stoul(line.substr(8)) << 10;
  }
  return 0;
}

// --- latencies ---------------------------------------------------------------------------------------

// Counts in buckets that are 1/32 of a power of two wide: 3 per cent.
class Histogram {
 public:
  void add(uint64_t value) {
    ++buckets_[bucketOf(value)];
    ++count_;
  }

  // The upper end of the bucket below which the share lies.
  uint64_t at(double share) const {
    const auto wanted = static_cast<uint64_t>(share * static_cast<double>(count_));
    uint64_t seen = 0;
    for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
      seen += buckets_[bucket];
      if (seen > wanted) return endOf(bucket);
    }
    return 0;
  }

 private:
  static constexpr unsigned kBits = 5;

  static size_t bucketOf(uint64_t value) {
    if (value < (1u << kBits)) return value;
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kBits;
    return (size_t{shift} << kBits) + (value >> shift);
  }
  static uint64_t endOf(size_t bucket) {
    if (bucket < (2u << kBits)) return bucket;
    const size_t shift = (bucket >> kBits) - 1;
    return ((bucket - (shift << kBits)) + 1) << shift;
  }

  std::array<uint64_t, 64u << kBits> buckets_{};
  uint64_t count_ = 0;
};

// --- the load ----------------------------------------------------------------------------------------

enum class Kind { ping, firehose, churn };

struct Connection {
  bench::Channel channel;
  Kind kind = Kind::ping;
  bool echoed = false;  // churn: what remains is the end
  uint32_t offset = 0;  // of its stream in the pattern
  uint64_t sent = 0;
  uint64_t received = 0;
  uint64_t goal = 0;   // may be sent
  uint64_t begin = 0;  // of what is timed
};

class Load {
 public:
  explicit Load(const Options& options)
      : port_(static_cast<int>(options.count("--port", 0))),
        pid_(static_cast<int>(options.count("--pid", 0))),
        batch_(options.count("--size", 64) * options.count("--depth", 1)),
        depth_(options.count("--depth", 1)),
        churn_(options.flag("--churn")),
        tls_(options.flag("--tls")),
        lockstep_(options.flag("--lockstep")),
        messages_(options.count("--messages", UINT32_MAX)),
        nanoseconds_(static_cast<uint64_t>(options.number("--seconds", 3600) * 1e9)) {
    uint32_t state = 1;
    for (size_t i = 0; i < pattern_.size(); ++i) {
      state = state * 1664525 + 1013904223;
      pattern_[i] = i < kPeriod ? static_cast<std::byte>(state >> 24) : pattern_[i - kPeriod];
    }
    const size_t count = options.count("--connections", 50);
    connections_.resize(count + options.count("--firehose", 0));
    pings_ = count;
    for (size_t i = 0; i < connections_.size(); ++i) {
      connections_[i].kind = i >= count ? Kind::firehose : churn_ ? Kind::churn : Kind::ping;
    }
  }

  // Connects everybody. The server may still be accepting afterwards.
  void connectAll() {
    for (Connection& connection : connections_) connect(connection);
  }

  // Everybody has heard one echo: nothing that happens once is measured. Then the load.
  void run() {
    if (!churn_) {
      for (Connection& connection : connections_) greet(connection);
    }
    begin_ = now();
    cpuBegin_ = cpuOf(pid_);
    for (Connection& connection : connections_) start(connection);
    while (active_ > 0 || (pings_ == 0 && !over())) turn();
    end_ = now();
    cpuEnd_ = cpuOf(pid_);
  }

  void report() const {
    const double seconds = static_cast<double>(end_ - begin_) / 1e9;
    std::printf("{\"seconds\": %.6f, \"messages\": %" PRIu64 ", \"bytes\": %" PRIu64
                ", \"cpu\": %.6f",
                seconds, done_, bytes_, static_cast<double>(cpuEnd_ - cpuBegin_) / 1e9);
    std::printf(", \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f}\n", micro(0.5),
                micro(0.9), micro(0.99), micro(0.999));
  }

 private:
  double micro(double share) const { return static_cast<double>(latencies_.at(share)) / 1e3; }

  void connect(Connection& connection) {
    const Kind kind = connection.kind;
    const uint64_t begin = now();
    connection = {.channel = bench::Channel(port_, tls_), .kind = kind};
    connection.offset = static_cast<uint32_t>(next_ += 7919) % kPeriod;
    connection.begin = begin;
    epoll_event event{.events = EPOLLIN, .data = {.ptr = &connection}};
    must(::epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.channel.fd(), &event), "epoll_ctl");
  }

  void greet(Connection& connection) {
    connection.goal = 64;
    pump(connection);
    while (connection.received < connection.goal) {
      connection.channel.wait();
      const ssize_t size = connection.channel.recv(buffer_.get(), 64);
      if (size < 0 && errno == EAGAIN) continue;
      compare(connection, static_cast<size_t>(must(size, "recv")));
    }
  }

  bool over() const { return started_ >= messages_ || now() - begin_ >= nanoseconds_; }

  void start(Connection& connection) {
    if (connection.kind == Kind::firehose) {
      connection.goal = connection.received + kWindow;
      return pump(connection);
    }
    ++active_;
    churn_ ? visit(connection) : ping(connection);
  }

  void ping(Connection& connection) {
    started_ += depth_;
    connection.goal += batch_;
    connection.begin = now();
    pump(connection);
  }

  void visit(Connection& connection) {
    ++started_;
    if (connection.channel.fd() < 0) connect(connection);
    connection.goal = batch_;
    pump(connection);
  }

  void turn() {
    std::array<epoll_event, 256> events;
    const int count = ::epoll_wait(epoll_, events.data(), 256, 100);
    for (int i = 0; i < count; ++i) {
      receive(*static_cast<Connection*>(events[static_cast<size_t>(i)].data.ptr));
    }
  }

  // As much as the kernel takes. A firehose that is full has bytes under way, and sends more when they return.
  void pump(Connection& connection) {
    while (connection.sent < connection.goal) {
      const size_t size = std::min<size_t>(connection.goal - connection.sent, kChunk);
      const ssize_t sent = connection.channel.send(expected(connection, connection.sent), size);
      if (sent < 0 && errno == EAGAIN) return;
      connection.sent += static_cast<uint64_t>(must(sent, "send"));
      if (!tls_ && static_cast<size_t>(sent) < size) return;
    }
  }

  const std::byte* expected(const Connection& connection, uint64_t position) const {
    return pattern_.data() + (connection.offset + position) % kPeriod;
  }

  void compare(Connection& connection, size_t size) {
    if (size == 0 || connection.received + size > connection.sent ||
        std::memcmp(buffer_.get(), expected(connection, connection.received), size) != 0) {
      std::fprintf(stderr, "byte %" PRIu64 " and on: not what was sent\n", connection.received);
      std::exit(1);
    }
    connection.received += size;
    bytes_ += size;
  }

  // One read a turn, or a firehose that is faster than this program would keep the others from their turn.
  // In TLS all that is there: epoll does not tell what the session still holds.
  void receive(Connection& connection) {
    do {
      const ssize_t size = connection.channel.recv(buffer_.get(), kChunk);
      if (size < 0 && errno == EAGAIN) return;
      must(size, "recv");
      if (connection.echoed && size == 0) return ended(connection);
      compare(connection, static_cast<size_t>(size));
      if (connection.kind == Kind::firehose) {
        connection.goal = connection.received + kWindow;
        pump(connection);
      } else if (connection.received == connection.goal) {
        return answered(connection);
      }
    } while (connection.channel.inPieces());
  }

  void answered(Connection& connection) {
    if (connection.kind == Kind::churn) {
      connection.echoed = true;
      return reached(connection);
    }
    latencies_.add(now() - connection.begin);
    done_ += depth_;
    reached(connection);
  }

  void ended(Connection& connection) {
    latencies_.add(now() - connection.begin);
    ++done_;
    connection.channel.close();
    connection.echoed = false;
    reached(connection);
  }

  // A step is done: on with the next, or wait until everybody is there.
  void reached(Connection& connection) {
    if (!lockstep_) return goOn(connection, over());
    if (++waiting_ < pings_) return;
    waiting_ = 0;
    const bool last = over();
    for (size_t i = 0; i < pings_; ++i) goOn(connections_[i], last);
  }

  void goOn(Connection& connection, bool last) {
    if (connection.echoed) {
      connection.channel.end();
    } else if (last) {
      --active_;
    } else {
      churn_ ? visit(connection) : ping(connection);
    }
  }

  const int port_;
  const int pid_;
  const size_t batch_;  // bytes sent at once
  const size_t depth_;
  const bool churn_;
  const bool tls_;
  const bool lockstep_;
  const uint64_t messages_;
  const uint64_t nanoseconds_;

  const int epoll_ = must(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  std::vector<Connection> connections_;
  size_t pings_ = 0;  // or visits: all but the firehoses
  std::array<std::byte, kPeriod + kChunk> pattern_;
  bench::Block buffer_ = bench::makeBuffer(kChunk);
  size_t next_ = 0;

  size_t active_ = 0;
  size_t waiting_ = 0;
  uint64_t started_ = 0;
  uint64_t done_ = 0;
  uint64_t bytes_ = 0;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  uint64_t cpuBegin_ = 0;
  uint64_t cpuEnd_ = 0;
  Histogram latencies_;
};

// Connections that stay: what the second half of them adds to the server's memory, and what the server
// does while nothing happens.
int idle(const Options& options) {
  const int port = static_cast<int>(options.count("--port", 0));
  const int pid = static_cast<int>(options.count("--pid", 0));
  const size_t count = options.count("--connections", 2000);
  size_t memoryHalf = 0;
  std::vector<bench::Channel> channels;
  for (size_t i = 0; i < count; ++i) {
    channels.emplace_back(port, options.flag("--tls"));
    if (i + 1 != count / 2 && i + 1 != count) continue;
    // The echo of the last one shows that the server has accepted all that came before it.
    std::byte bytes[64]{};
    must(channels.back().send(bytes, sizeof bytes), "send");
    ssize_t size = -1;
    while (size < 0) {
      channels.back().wait();
      size = channels.back().recv(bytes, sizeof bytes);
      if (size < 0 && errno != EAGAIN) bench::fail("recv");
    }
    if (i + 1 != count) memoryHalf = memoryOf(pid);
  }
  const double each = static_cast<double>(memoryOf(pid)) - static_cast<double>(memoryHalf);
  const uint64_t before = cpuOf(pid);
  ::usleep(static_cast<useconds_t>(options.number("--seconds", 1) * 1e6));
  std::printf("{\"bytes_each\": %.1f, \"cpu\": %.6f}\n",
              each / static_cast<double>(count - count / 2),
              static_cast<double>(cpuOf(pid) - before) / 1e9);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  bench::prepare();
  const Options options(argc, argv);
  if (options.flag("--idle")) return idle(options);
  Load load(options);
  if (!options.flag("--churn")) load.connectAll();
  load.run();
  load.report();
  if (options.flag("--lockstep")) {
    must(::kill(static_cast<pid_t>(options.count("--pid", 0)), SIGTERM), "kill");
  }
}
