// As many connections as the descriptors of two processes allow, which do nothing; then all of them talk.
#include <chrono>
#include <random>
#include <thread>

#include "stress/crowd.h"

namespace stress {
namespace {

// Nothing but the question itself wakes a server whose sockets are quiet.
void watchIdle(Server& server, double seconds) {
  const Report before = server.ask();
  const double cpu = server.used().cpu;
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const double spent = server.used().cpu - cpu;
  const Report after = server.ask();
  const size_t turns = after.stats.turns - before.stats.turns;
  note("%.1f s of silence: %zu turns, %.1f ms of processor", seconds, turns, spent * 1e3);
  if (turns > 4) fail("the server was awake %zu times while nothing happened", turns);
}

}  // namespace

void idle(const Settings& settings) {
  const size_t count = settings.count(settings.tls ? 10'000 : 19'000, 300);
  Server server([&](Service& service) { service.listen(service.options(settings.tls, echo())); });
  const Target target{server.port(), settings.tls};
  const Used before = server.used();
  Loop loop;
  size_t done = 0;
  std::deque<Talker> talkers;
  for (size_t i = 0; i < count; ++i) talkers.emplace_back(loop, done);

  double begin = now();
  inTurn(loop, talkers, settings.tls ? 200 : 1000, "connecting", done, [&](Talker& talker) {
    talker.dial(target);
    talker.talk(64);
  });
  const double each = (server.used().memory - before.memory) / static_cast<double>(count);
  note("%zu connections in %.1f s, %.0f bytes of the server each", count, now() - begin, each);
  if (!kSanitized && each > (settings.tls ? 8000 : 600)) fail("that is too much memory");
  if (server.used().descriptors < count) fail("not all of them are open");
  watchIdle(server, settings.seconds(5, 1));

  begin = now();
  std::mt19937_64 random(settings.seed);
  const size_t rounds = 5;
  for (size_t round = 0; round < rounds; ++round) {
    inTurn(loop, talkers, count, "talking", done,
           [&](Talker& talker) { talker.talk(1 + random() % 4096); });
  }
  note("%zu messages, %.0f MB compared in %.1f s", rounds * count,
       static_cast<double>(bytesCompared()) / 1e6, now() - begin);
  watchIdle(server, 1);

  for (Talker& talker : talkers) talker.reset();
  const Report report = server.finish();
  if (report.counts.resets != count) fail("%zu resets seen", size_t{report.counts.resets});
  note("%zu resets seen, nothing left", count);
}

}  // namespace stress
