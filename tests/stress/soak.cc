// A mixture of everything for a long time, in which neither memory nor descriptors may grow.
#include <chrono>

#include "stress/crowd.h"

namespace stress {
namespace {

using namespace std::chrono_literals;

void serve(Service& service) {
  const warren::Listener<> plain = service.listen(service.options(false, echo()));
  service.listen(service.options(false, hangUpAfterAWord()));
  if (WARREN_TLS) service.listen(service.options(true, echo()));
  if (WARREN_TLS) service.listen(service.options(true, hangUpAfterAWord()));
  service.every(100ms, [plain, &service] { plain.reload(service.counted(echo())).value(); });
}

// Some of each kind, none of them as fast as it could: time is what counts here.
class Crowd {
 public:
  Crowd(const Server& server, uint64_t seed)
      : plain_{.echo = {server.port(0)}, .hangUp = {server.port(1)}},
        secure_{.echo = {server.port(2), true}, .hangUp = {server.port(3), true}},
        rude_{.targets = {plain_.echo}, .random = std::mt19937_64(seed)},
        random_(seed) {
    if (WARREN_TLS) rude_.targets = {plain_.echo, plain_.echo, plain_.echo, secure_.echo};
    for (size_t i = 0; i < 40; ++i) {
      talkers_.emplace_back(loop_, answers_)
          .dial(WARREN_TLS && i % 4 == 0 ? secure_.echo : plain_.echo);
      visitors_.emplace_back(loop_, plain_);
      rogues_.emplace_back(loop_, rude_);
      if (WARREN_TLS && i < 8) visitors_.emplace_back(loop_, secure_);
    }
  }

  void tick() {
    plain_.goal += 10;
    secure_.goal += ++ticks_ % 4 == 0 && WARREN_TLS;
    rude_.goal += ticks_ % 2;
    revive(visitors_, [](Visitor& visitor) { visitor.visit(); });
    revive(rogues_, [](Rogue& rogue) { rogue.begin(); });
    for (Talker& talker : talkers_) {
      if (talker.answered()) talker.talk(1 + random_() % 20'000);
    }
    for (const double begin = now(); now() - begin < 0.01;) loop_.turn(5);
  }

  // Everybody finishes and goes.
  void end() {
    loop_.until([this] {
      return plain_.done == plain_.goal && secure_.done == secure_.goal && rude_.done == rude_.goal;
    });
    for (Talker& talker : talkers_) talker.finish();
    for (Talker& talker : talkers_) {
      loop_.until([&] { return talker.ended() && talker.answered(); });
      talker.close();
    }
  }

  size_t visits() const { return plain_.done + secure_.done + rude_.done; }
  void report() const {
    note("%zu visits, %zu in TLS, %zu hostile peers, %zu messages; %.0f MB compared", plain_.done,
         secure_.done, rude_.done, answers_, static_cast<double>(bytesCompared()) / 1e6);
  }

 private:
  template <class Peers, class Begin>
  static void revive(Peers& peers, Begin begin) {
    for (auto& peer : peers) {
      if (!peer.open()) begin(peer);
    }
  }

  Loop loop_;
  Visitor::Tally plain_;
  Visitor::Tally secure_;
  Rogue::Tally rude_;
  std::mt19937_64 random_;
  std::deque<Talker> talkers_;
  std::deque<Visitor> visitors_;
  std::deque<Rogue> rogues_;
  size_t answers_ = 0;
  size_t ticks_ = 0;
};

struct Trend {
  double early;
  double late;
};

// The median after a warm-up of a quarter of the time, and at its end.
Trend trend(const std::vector<double>& samples) {
  const auto quarter = static_cast<std::ptrdiff_t>(samples.size() / 4);
  return {quantile({samples.begin() + quarter, samples.begin() + 2 * quarter}, 0.5),
          quantile({samples.end() - quarter, samples.end()}, 0.5)};
}

}  // namespace

void soak(const Settings& settings) {
  Server server(serve);
  Crowd crowd(server, settings.seed);
  std::vector<double> memory;
  std::vector<double> descriptors;
  const double begin = now();
  const double step = settings.soak / 200;
  while (now() - begin < settings.soak) {
    crowd.tick();
    if (now() - begin < step * static_cast<double>(memory.size() + 1)) continue;
    const Used used = server.used();
    memory.push_back(used.memory);
    descriptors.push_back(static_cast<double>(used.descriptors));
    progress("%.0f of %.0f s, %zu visits, %.0f KB, %zu descriptors", now() - begin, settings.soak,
             crowd.visits(), used.memory / 1e3, used.descriptors);
    if (settings.soak >= 600 && memory.size() % 10 == 0) {
      note("%5.0f s  %9zu visits  %6.0f KB  %4zu descriptors", now() - begin, crowd.visits(),
           used.memory / 1e3, used.descriptors);
    }
  }
  crowd.end();
  const double cpu = server.used().cpu;
  const Counts counts = server.finish().counts;

  const Trend bytes = trend(memory);
  const Trend open = trend(descriptors);
  crowd.report();
  note("%.0f s, %.0f s of them on the processor; %zu clean closes, %zu resets, %zu in TLS",
       settings.soak, cpu, size_t{counts.clean}, size_t{counts.resets}, size_t{counts.tls});
  note("memory of the server: %.0f KB early, %.0f KB late; descriptors: %.0f early, %.0f late",
       bytes.early / 1e3, bytes.late / 1e3, open.early, open.late);
  if (!kSanitized && bytes.late > bytes.early + 1e6) fail("memory grows");
  if (open.late > open.early * 1.5 + 20) fail("descriptors are left");
  if (counts.timeouts != 0) fail("%zu had to be cut", size_t{counts.timeouts});
}

}  // namespace stress
