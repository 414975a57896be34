// Peers that take what they have asked for in drops, or nothing at all for a while.
#include <sys/socket.h>

#include <cstring>

#include "stress/crowd.h"

namespace stress {
namespace {

constexpr uint64_t kSize = uint64_t{2} << 20;
constexpr int kBuffer = 64 << 10;  // of the kernel

// Says kSize bytes and FIN, and takes them back when it is asked to.
class SlowReader : public Peer {
 public:
  using Peer::Peer;
  void begin(const Target& target) {
    setReading(false);
    dial(target);
    setReceiveBuffer(kBuffer);
    say(kSize);
    finish();
  }
  void sip(uint64_t limit) {
    read(limit);
    if (broken() != 0) fail("a slow reader was cut: %s", std::strerror(broken()));
    if (!ended()) return;
    if (!answered()) fail("the end came %zu bytes early", size_t{goal() - received()});
    close();
  }
};

}  // namespace

void slow(const Settings& settings) {
  Server server([](Service& service) {
    // The kernel keeps little for the peers, so the server has to.
    const int listener = service.listen(service.options(false, echo())).descriptors().front();
    must(::setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &kBuffer, sizeof kBuffer), "SO_SNDBUF");
  });
  const Target target{server.port()};
  Loop loop;
  std::deque<Pinger> pingers;
  start(loop, pingers, 20, 512, target);
  const size_t count = settings.count(300, 20);
  const double before = server.used().memory;
  std::deque<SlowReader> readers;
  for (size_t i = 0; i < count; ++i) readers.emplace_back(loop).begin(target);

  // Every third one sleeps at first, well below the server's linger limit of 10 s.
  const double begin = now();
  const double awake = begin + settings.seconds(4, 1);
  std::mt19937_64 random(settings.seed);
  double memory = 0;
  double looked = 0;
  for (size_t left = count; left > 0; loop.turn(1)) {
    left = 0;
    for (size_t i = 0; i < count; ++i) {
      if (i % 3 != 0 || now() > awake) readers[i].sip(1 + random() % 8192);
      left += readers[i].open();
    }
    progress("%zu still read", left);
    if (now() - looked < 0.05) continue;
    looked = now();
    memory = std::max(memory, server.used().memory - before);
  }
  const double seconds = now() - begin;
  const Latency latency = takeLatency(pingers);
  end(loop, pingers);
  const Report report = server.finish();

  const double each = memory / static_cast<double>(count);
  note("%zu readers took %zu MiB each in drops, in %.1f s", count, size_t{kSize >> 20}, seconds);
  note("memory of the server at its height: %.0f KB for each; %zu drains", each / 1e3,
       size_t{report.stats.drains});
  note("beside them %zu messages, p99 %.2f ms", latency.count, latency.p99);
  if (!kSanitized && each > 200e3) fail("that is more than two high-water marks");
  if (report.counts.clean != report.counts.opens) fail("not all closes were clean");
}

}  // namespace stress
