// Peers that reset, half-close and vanish, beside some that behave.
#include "stress/crowd.h"

namespace stress {

void hostile(const Settings& settings) {
  Server server([](Service& service) {
    service.listen(service.options(false, echo()));
    if (WARREN_TLS) service.listen(service.options(true, echo()));
  });
  Rogue::Tally tally{.targets = {{server.port(0), false}},
                     .random = std::mt19937_64(settings.seed)};
  // One in four in TLS, whose handshakes cost.
  if (WARREN_TLS)
    tally.targets = {3, tally.targets[0]}, tally.targets.push_back({server.port(1), true});
  tally.goal = settings.count(40'000, 800);
  Loop loop;
  std::deque<Pinger> pingers;
  start(loop, pingers, 20, 512, {server.port(0)});
  std::deque<Rogue> rogues;
  const double begin = now();
  for (size_t i = 0; i < 64; ++i) rogues.emplace_back(loop, tally).begin();
  loop.until([&] {
    progress("%zu of %zu", tally.done, tally.goal);
    return tally.done == tally.goal;
  });
  const double seconds = now() - begin;
  const Latency latency = takeLatency(pingers);
  end(loop, pingers);

  const Report report = server.finish();
  const Counts& counts = report.counts;
  note("%zu peers in %.1f s, seed %zu", tally.done, seconds, size_t{settings.seed});
  for (size_t plan = 0; plan < Rogue::kPlans; ++plan) {
    note("  %-20s %zu", Rogue::name(plan), tally.plans[plan]);
  }
  note("the server saw %zu opens: %zu clean closes, %zu resets, %zu truncated in TLS",
       size_t{counts.opens}, size_t{counts.clean}, size_t{counts.resets}, size_t{counts.tls});
  note("beside them %zu messages of good peers; longest turn of the server %.1f ms", latency.count,
       static_cast<double>(report.stats.longestTurn.count()) / 1e6);
  if (counts.timeouts != 0) fail("%zu had to be cut", size_t{counts.timeouts});
}

}  // namespace stress
