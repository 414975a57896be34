// A server that runs out of descriptors again and again.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <memory>

#include "stress/crowd.h"
#include "support/net.h"

namespace stress {
namespace {

using namespace std::chrono_literals;

constexpr size_t kRoom = 100;  // descriptors, for sockets and all else
constexpr size_t kPingers = 20;

// Takes every descriptor there is, and next time gives them back.
class Hog {
 public:
  void act() {
    if (!taken_.empty()) return release();
    for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) taken_.push_back(fd);
  }
  void release() {
    for (const int fd : taken_) ::close(fd);
    taken_.clear();
  }
  ~Hog() { release(); }

 private:
  std::vector<int> taken_;
};

void serve(Service& service, double end) {
  rlimit limit{};
  must(::getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  limit.rlim_cur = warren::test::openDescriptors() + kRoom;
  must(::setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  service.listen(service.options(false, echo()));
  const auto hog = std::make_shared<Hog>();
  service.every(20ms, [hog, end] { now() > end ? hog->release() : hog->act(); });
}

// Wants a word and stays a while; comes back when it was turned away.
class Caller : public Peer {
 public:
  struct Tally {
    size_t served = 0;
    size_t turnedAway = 0;
  };
  Caller(Loop& loop, Tally& tally) : Peer(loop), tally_(tally) {}

  void call(const Target& target, double leaves) {
    leaves_ = leaves;
    dial(target);
    say(64);
  }
  void leaveInTime() {
    if (open() && answered() && now() > leaves_) reset();
  }

 protected:
  void step() override {
    if (answered() && !std::exchange(served_, true)) ++tally_.served;
    if (!ended() && broken() == 0) return;
    if (answered()) fail("who was served was cut");
    ++tally_.turnedAway;
    close();
  }

 private:
  void reset() {
    Peer::reset();
    served_ = false;
  }

  Tally& tally_;
  double leaves_ = 0;
  bool served_ = false;
};

}  // namespace

void descriptors(const Settings& settings) {
  const double begin = now();
  const double end = begin + settings.seconds(15, 2);
  Server server([end](Service& service) { serve(service, end); });
  const Target target{server.port()};
  Loop loop;
  std::deque<Pinger> pingers;
  start(loop, pingers, kPingers, 64, target);
  // Not before the server's timer has run: UBSan wants a descriptor to check a type it has not met yet.
  loop.until([&] { return server.ask().stats.timersFired >= 2; });
  Caller::Tally tally;
  std::deque<Caller> callers;
  for (size_t i = 0; i < 400; ++i) callers.emplace_back(loop, tally);
  std::mt19937_64 random(settings.seed);
  while (now() < end) {
    for (Caller& caller : callers) {
      caller.leaveInTime();
      if (!caller.open()) caller.call(target, now() + static_cast<double>(random() % 100) / 1e3);
    }
    loop.turn(2);
    progress("%zu served, %zu turned away", tally.served, tally.turnedAway);
  }
  const Report report = server.ask();
  const Latency latency = takeLatency(pingers);
  note("%.0f s with room for %zu: %zu served, %zu turned away, %zu reports of it", end - begin,
       kRoom, tally.served, tally.turnedAway, size_t{report.counts.acceptErrors});
  note("beside it %zu messages, p99 %.2f ms; %zu turns, %zu of them found nothing to do",
       latency.count, latency.p99, size_t{report.stats.turns}, size_t{report.stats.idleTurns});
  if (report.counts.acceptErrors == 0) fail("it never ran out");
  if (tally.served == 0 || tally.turnedAway == 0) fail("there was no storm");
  if (report.stats.idleTurns > report.stats.turns / 2) fail("it spins");

  // The storm is over: everybody is served, as far as there is room.
  for (Caller& caller : callers) caller.close();
  loop.until([&] { return server.ask().stats.sockets == kPingers; });
  size_t done = 0;
  std::deque<Talker> talkers;
  for (size_t i = 0; i < kRoom / 2; ++i) talkers.emplace_back(loop, done);
  inTurn(loop, talkers, talkers.size(), "afterwards", done, [&](Talker& talker) {
    talker.dial(target);
    talker.talk(10'000);
  });
  note("afterwards %zu of %zu were served", done, talkers.size());
  for (Talker& talker : talkers) talker.close();
  stress::end(loop, pingers);
  server.finish();
}

}  // namespace stress
