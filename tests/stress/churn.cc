// Connections that come, say a word and go.
#include "stress/crowd.h"

namespace stress {

void churn(const Settings& settings) {
  Server server([&](Service& service) {
    service.listen(service.options(settings.tls, echo()));
    service.listen(service.options(settings.tls, hangUpAfterAWord()));
  });
  Visitor::Tally tally{.echo = {server.port(0), settings.tls},
                       .hangUp = {server.port(1), settings.tls},
                       .goal = settings.count(settings.tls ? 20'000 : 200'000, 400)};
  Loop loop;
  std::deque<Visitor> visitors;
  const double begin = now();
  for (size_t i = 0; i < 100; ++i) visitors.emplace_back(loop, tally).visit();
  const auto reach = [&](size_t visits) {
    loop.until([&] {
      progress("%zu of %zu visits", tally.done, tally.goal);
      return tally.done >= visits;
    });
  };
  reach(tally.goal / 4);
  const Used early = server.used();
  reach(tally.goal);
  const double seconds = now() - begin;
  const Used late = server.used();

  const Report report = server.finish();
  const Counts& counts = report.counts;
  note("%zu visits in %.1f s, %.0f a second; %zu ended, %zu reset", tally.done, seconds,
       static_cast<double>(tally.done) / seconds, size_t{counts.clean}, size_t{counts.resets});
  note("memory of the server: %.0f KB after a quarter, %.0f KB at the end", early.memory / 1e3,
       late.memory / 1e3);
  if (counts.opens != tally.goal) fail("%zu were opened", size_t{counts.opens});
  if (counts.resets != tally.resets) fail("%zu were reset by us", tally.resets);
  if (counts.clean + counts.resets != tally.goal) fail("not all others were clean");
  if (!kSanitized && late.memory > early.memory + 1e6) fail("memory grows");
}

}  // namespace stress
