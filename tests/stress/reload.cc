// Handlers, and certificates, that are replaced all the time.
#include <memory>

#include "stress/crowd.h"
#include "support/certificates.h"

namespace stress {
namespace {

using namespace std::chrono_literals;
using warren::Bytes;
using warren::Socket;

enum { kReloads, kStale, kAlive, kMostAlive };  // of Counts::own

// Replaces the table of a listener; each knows whether it is the current one.
class Reloads {
 public:
  explicit Reloads(Service& service) : service_(service) {}
  void of(warren::Listener<> listener) { listener_ = listener; }

  void once() {
    ++current_;
    ++own(kReloads);
    listener_.reload(service_.counted(table())).value();
  }

  warren::SocketHandlers<> table() {
    auto life = std::make_shared<Life>(service_.counts);
    warren::SocketHandlers<> handlers = echo();
    handlers.data = [this, life, made = current_, answer = handlers.data](Socket<> socket,
                                                                          Bytes bytes) {
      if (made != current_) ++own(kStale);
      if (++calls_ % 64 == 0) once();  // also while the table that is replaced is running
      answer(socket, bytes);
    };
    return handlers;
  }

 private:
  // Counts the tables that have not been destroyed.
  struct Life {
    explicit Life(Counts& all) : counts(all) {
      counts.own[kMostAlive] = std::max(counts.own[kMostAlive], ++counts.own[kAlive]);
    }
    ~Life() { --counts.own[kAlive]; }
    Life(const Life&) = delete;
    Life& operator=(const Life&) = delete;
    Counts& counts;
  };
  uint64_t& own(size_t which) { return service_.counts.own.at(which); }

  Service& service_;
  warren::Listener<> listener_;
  uint64_t current_ = 0;
  uint64_t calls_ = 0;
};

void serve(Service& service) {
  const auto reloads = std::make_shared<Reloads>(service);
  reloads->of(service.listen(service.options(false, reloads->table())));
  service.every(1ms, [reloads] { reloads->once(); });
  service.listen(service.options(false, hangUpAfterAWord()));
#if WARREN_TLS
  const warren::Listener<> secure = service.listen(service.options(true, echo()));
  service.every(5ms, [secure, type = 0]() mutable {
    const auto& leaf = warren::test::testLeaf(++type % 2 == 0 ? warren::test::KeyType::p256
                                                              : warren::test::KeyType::p384);
    secure.reloadTls({.key = leaf.key, .cert = leaf.cert}).value();
  });
#endif
}

}  // namespace

void reload(const Settings& settings) {
  Server server(serve);
  const Target target{server.port(0)};
  Visitor::Tally plain{
      .echo = target, .hangUp = {server.port(1)}, .goal = settings.count(60'000, 800)};
  const Target secureTarget{server.port(2), true};
  Rogue::Tally secure{.targets = {secureTarget}, .random = std::mt19937_64(settings.seed)};
  if (WARREN_TLS) secure.goal = settings.count(3000, 40);
  Loop loop;
  std::deque<Pinger> pingers;
  start(loop, pingers, 50, 700, target);
  std::deque<Visitor> visitors;
  std::deque<Rogue> rogues;
  const double begin = now();
  for (size_t i = 0; i < 50; ++i) visitors.emplace_back(loop, plain).visit();
  for (size_t i = 0; i < 8; ++i) rogues.emplace_back(loop, secure).begin();
  loop.until([&] {
    progress("%zu of %zu visits, %zu of %zu in TLS", plain.done, plain.goal, secure.done,
             secure.goal);
    return plain.done == plain.goal && secure.done == secure.goal;
  });
  const double seconds = now() - begin;
  const Latency latency = takeLatency(pingers);
  end(loop, pingers);
  const Counts counts = server.finish().counts;

  note("%zu reloads in %.1f s under %zu messages and %zu visits; %zu in TLS, new keys every 5 ms",
       size_t{counts.own[kReloads]}, seconds, latency.count, plain.done, secure.done);
  note("calls of a replaced table: %zu; tables alive: %zu at most, %zu at the end",
       size_t{counts.own[kStale]}, size_t{counts.own[kMostAlive]}, size_t{counts.own[kAlive]});
  if (counts.own[kStale] != 0) fail("a replaced table was called");
  if (static_cast<double>(counts.own[kReloads]) < seconds * 20) fail("too few reloads");
  if (counts.own[kAlive] > 1) fail("tables were left");
}

}  // namespace stress
