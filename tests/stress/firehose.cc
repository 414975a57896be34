// One connection that never stops must not make a hundred others wait.
#include <csignal>

#include "stress/crowd.h"

namespace stress {
namespace {

// Always has a megabyte under way.
class Hose : public Peer {
 public:
  using Peer::Peer;
  void step() override {
    if (broken() != 0 || ended()) fail("the firehose was cut");
    say(received() + (uint64_t{1} << 20) - goal());
  }
};

// In a process of its own, so that the pingers' own clock is not held up by its work.
pid_t openHose(const Target& target) {
  return spawn([&] {
    Loop loop;
    Hose hose(loop);
    hose.dial(target);
    loop.until([] { return false; });
  });
}

}  // namespace

void firehose(const Settings& settings) {
  Server server([&](Service& service) { service.listen(service.options(settings.tls, echo())); });
  const Target target{server.port(), settings.tls};
  Loop loop;
  std::deque<Pinger> pingers;
  start(loop, pingers, 100, 64, target);
  const auto measure = [&] {
    takeLatency(pingers);
    const double end = now() + settings.seconds(2, 0.4);
    loop.until([&] { return now() > end; });
    return takeLatency(pingers);
  };

  std::vector<double> alone;
  std::vector<double> beside;
  size_t messages = 0;
  uint64_t poured = 0;
  double seconds = 0;
  for (size_t round = 0; round < 5; ++round) {
    progress("round %zu of 5", round + 1);
    alone.push_back(measure().p99);
    const pid_t hose = openHose(target);
    const uint64_t before = server.ask().stats.bytesWritten;
    const double begin = now();
    const Latency latency = measure();
    beside.push_back(latency.p99);
    messages += latency.count;
    poured += server.ask().stats.bytesWritten - before - 64 * latency.count;
    seconds += now() - begin;
    ::kill(hose, SIGKILL);
    await(hose);
  }
  end(loop, pingers);
  server.finish();

  const double p99Alone = quantile(alone, 0.5);
  const double p99Beside = quantile(beside, 0.5);
  note("p99 of 100 pingers, median of 5: %.2f ms alone, %.2f ms beside a firehose: %.1f times",
       p99Alone, p99Beside, p99Beside / p99Alone);
  note("beside it %zu messages; the firehose had %.0f MB/s, all compared", messages,
       static_cast<double>(poured) / seconds / 1e6);
  if (poured == 0) fail("the firehose was starved");
  // Three busy processes on what may be two processors: the system's own slices are in this.
  if (!kSanitized && p99Beside > 6 * p99Alone + 10) fail("the firehose holds up the others");
}

}  // namespace stress
