// Listeners that stop or drain under load, and come back on the same port.
#include <chrono>
#include <memory>

#include "stress/crowd.h"

namespace stress {
namespace {

using namespace std::chrono_literals;

enum { kStops, kDrains, kFinished, kCut };  // of Counts::own

// Listens for a while, stops or drains, and listens again.
class Cycle {
 public:
  Cycle(Service& service, uint64_t seed) : service_(service), random_(seed) {
    service.timers.emplace_back();
    listener_ = service.listen(service.options(false, echo()));
    port_ = listener_.port();
    stopLater();
  }

 private:
  uint64_t& own(size_t which) { return service_.counts.own.at(which); }

  void listen() {
    if (service_.stopping) return;
    warren::ListenOptions<> options = service_.options(false, echo());
    options.port = port_;
    listener_ = service_.reactor.listen(std::move(options)).value();
    service_.listeners[0] = listener_;
    stopLater();
  }

  void stopLater() {
    const auto delay = std::chrono::milliseconds(50 + random_() % 100);
    service_.timers[0] = service_.reactor.after(delay, [this] { stop(); }).value();
  }

  void stop() {
    if (own(kStops) <= own(kDrains)) {
      ++own(kStops);
      listener_.stop(true);
      allClosed();
      return listen();
    }
    ++own(kDrains);
    const size_t open = listener_.connectionCount();
    const auto done = [this, open](const warren::Drained& drained) {
      own(kFinished) += drained.finished;
      own(kCut) += drained.cut;
      if (drained.finished + drained.cut != open) {
        fail("%zu were open, a drain says %zu and %zu", open, drained.finished, drained.cut);
      }
      allClosed();
      listen();
    };
    // Without connections it is done at once, and says so all the same.
    if (!listener_.drain(500ms, done)) fail("a drain was refused");
  }

  void allClosed() {
    if (service_.counts.opens == service_.counts.closes) return;
    fail("%zu opens, but %zu closes after a stop", size_t{service_.counts.opens},
         size_t{service_.counts.closes});
  }

  Service& service_;
  std::mt19937_64 random_;
  warren::Listener<> listener_;
  int port_ = 0;
};

// Talks all the time, or says one thing and is quiet; comes back whenever it is thrown out.
class Guest : public Peer {
 public:
  struct Tally {
    size_t visits = 0;
    size_t refused = 0;    // before the first answer
    size_t quietEnds = 0;  // all was answered, then FIN
    size_t quietCuts = 0;  // all was answered, then RST
    size_t busyEnds = 0;
    size_t busyCuts = 0;
  };
  Guest(Loop& loop, Tally& tally, bool quiet) : Peer(loop), tally_(tally), quiet_(quiet) {}

  void come(const Target& target) {
    ++tally_.visits;
    dial(target);
    say(1000);
  }

 protected:
  void step() override {
    if (broken() != 0 || ended()) return leave();
    if (answered() && !quiet_) say(1 + received() % 50'000);
  }

 private:
  void leave() {
    if (received() == 0) {
      ++tally_.refused;
    } else if (quiet_ && answered()) {
      ++(broken() != 0 ? tally_.quietCuts : tally_.quietEnds);
    } else {
      ++(broken() != 0 ? tally_.busyCuts : tally_.busyEnds);
    }
    close();
  }

  Tally& tally_;
  bool quiet_;
};

}  // namespace

void stop(const Settings& settings) {
  const size_t rounds = settings.count(100, 8);
  Server server(
      [&](Service& service) { service.keep(std::make_shared<Cycle>(service, settings.seed)); });
  const Target target{server.port()};
  Loop loop;
  Guest::Tally tally;
  std::deque<Guest> guests;
  for (size_t i = 0; i < 100; ++i) guests.emplace_back(loop, tally, i % 2 == 0);

  const double begin = now();
  Counts counts;
  while (counts.own[kDrains] + counts.own[kStops] < rounds) {
    for (Guest& guest : guests) {
      if (!guest.open()) guest.come(target);
    }
    for (const double tick = now(); now() - tick < 0.01;) loop.turn(5);
    counts = server.ask().counts;
    progress("%zu of %zu rounds", size_t{counts.own[kDrains] + counts.own[kStops]}, rounds);
  }
  const double seconds = now() - begin;
  for (Guest& guest : guests) guest.close();
  counts = server.finish().counts;

  note("%zu stops and %zu drains on one port in %.1f s: %zu sockets finished, %zu cut",
       size_t{counts.own[kStops]}, size_t{counts.own[kDrains]}, seconds,
       size_t{counts.own[kFinished]}, size_t{counts.own[kCut]});
  note("%zu visits: %zu refused; quiet ones: %zu ended, %zu cut; busy ones: %zu ended, %zu cut",
       tally.visits, tally.refused, tally.quietEnds, tally.quietCuts, tally.busyEnds,
       tally.busyCuts);
  if (tally.quietEnds == 0 || tally.busyEnds + tally.busyCuts == 0) fail("nobody was there");
  if (tally.quietCuts > tally.quietEnds / 10) fail("quiet sockets were cut");
}

}  // namespace stress
