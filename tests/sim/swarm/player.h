// Player: runs one program and holds what happens against the model.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model.h"
#include "program.h"

namespace warren::swarm {

class Player {
 public:
  explicit Player(const Program& program);
  ~Player();
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

  // What went wrong first; nothing when all is well.
  std::optional<std::string> play();
  uint64_t turns() const { return turns_; }

 private:
  // Tells when the last handler of a table is gone.
  struct TableLife {
    Player& player;
    size_t number;
    ~TableLife() { player.tables_[number] = false; }
  };
  // What each handler of a table holds.
  struct Hook {
    Player* player;
    int table;
    std::shared_ptr<TableLife> life;
    template <class Check>
    void run(SocketHandle socket, When when, const Check& check) const;
  };

  bool expect(bool truth, std::string_view what);
  bool expect(bool truth, const User& user, std::string_view what);

  // player.cc: what is done
  void perform(const Operation& operation);
  void doVerb(const Operation& operation, User* self);
  void doListener(const Operation& operation);
  void doUser(const Operation& operation, User& user);
  void doPeer(const Operation& operation);
  void schedule(const Operation& operation);
  void listen(const Operation& operation);
  void arrive(const Operation& operation);
  void dial(const Operation& operation);
  void adopt(const Operation& operation);
  void started(User& user, const Result<Socket<Tag>>& socket);
  void churn(const Operation& operation);
  User* pickUser(uint32_t who);
  PeerEnd* pickPeer(uint32_t who);
  Group* pickListener(uint32_t who);
  User& newUser(Group& group);
  PeerEnd& newPeer(sim::Peer peer);
  void meet(sim::Server& server, bool secure);
  Group& newGroup(uint32_t choice);
  std::string_view payload(const End& from, size_t size);
  void step(Duration patience = {});
  void elapse(uint64_t milliseconds);
  void settle();

  // users.cc: the verbs of a socket, and what they may answer
  void write(User& user, size_t size);
  void writeSink(User& user, size_t size);
  void writeCorked(User& user, size_t size);
  void took(User& user, std::ptrdiff_t count, size_t size, bool corked = false);
  void lift(User& user);
  void send(User& user, size_t size);
  void end(User& user, size_t size);
  void close(User& user, bool terminate);
  void setTimeout(User& user, uint64_t milliseconds, bool idle);
  void ask(User& user);
  void reload(Group& group, User* user);

  // heard.cc: what handlers are told, and whether it may be so
  SocketHandlers<Tag> handlers(Group& group);
  User* heard(SocketHandle socket, int table, When when);
  void react(When when, User& user);
  void onOpen(User& user);
  void onData(User& user, Bytes bytes);
  void onDrain(User& user);
  void onEnd(User& user);
  void onClose(User& user, const Error& error);
  void onTimeout(User& user);
  void onConnectError(User& user, const Error& error);
  void onError(SocketHandle socket, const Error& error);
  bool mayClose(const User& user, const Error& error) const;
  bool mayBeTooMuch(const User& user) const;
  sim::KernelSocket* findKernel(SocketHandle socket);
  void receive(End& end, Bytes bytes);
  void readPeer(PeerEnd& peer, size_t most);
  void checkPeerEnd(PeerEnd& peer);
  bool resetExcused(const User& user) const;

  // tls.cc: programs in which sockets and peers speak TLS
  void upgrade(User& user, uint32_t choice);
  Result<void> tryUpgrade(User& user, Bytes leftover, Leftover policy);
  void checkRefusal(const User& user, const Error& error, bool leftover);
  void follow(const User& user);
  void seal(PeerEnd& peer, Far::Role role);
  bool doSealedPeer(const Operation& operation, PeerEnd& peer);
  void sendSealed(PeerEnd& peer, size_t size);
  void meddle(PeerEnd& peer, uint32_t choice);
  void collect(PeerEnd& peer);
  void notify(PeerEnd& peer);
  void endSealed(PeerEnd& peer, bool proper);
  void leaveSealed(PeerEnd& peer, bool reset, bool proper);
  static void breakOff(PeerEnd& peer);
  void pump();
  void push(PeerEnd& peer);
  void readSealed(PeerEnd& peer, std::string_view text);
  void checkSealedEnd(const PeerEnd& peer, const User& user);
  void checkSealed(const User& user);
  void onHandshake(User& user, bool done, const Error& error);
  void refresh(User& user);
  void agree(User& user);
  bool shaking(const User& user) const { return user.sealed && !user.agreed; }
  uint64_t sentTo(const User& user) const;
  static bool clean(const End& into, const End& from);
  bool muddled(const User& user) const;
  bool sealedShaky(const User& user) const;
  bool mayTimeOut(const sim::KernelSocket* kernel, uint64_t since) const;
  bool mayFailTls(const User& user, const Error& error) const;
  bool brokeTls(const PeerEnd& peer) const;
  bool endedTls(const User& user) const;

  // checks.cc: what must be true when nothing more happens
  void quiesce();
  void checkCounts();
  void checkQueued();
  void checkQuiet();
  void checkQuiet(const User& user);
  void checkListener(const Group& group);
  void readAll();
  void endAll();
  void finale();

  End* otherOf(const End& end) const;
  static PeerEnd& peerOf(End& end) { return static_cast<PeerEnd&>(end); }
  static const PeerEnd& peerOf(const End& end) { return static_cast<const PeerEnd&>(end); }
  bool shaky(const User& user) const;
  bool isOver(const User& user) const;
  bool noMemory() const { return chaos_.noMemory > 0; }
  uint64_t now() const { return kernel_.now(); }
  sim::Queue& queue() { return *kernel_.state().queues[0]; }
  void calm();
  void rage();

  const Program& program_;
  const uint32_t tls_;  // as the program's
  std::optional<std::string> failure_;
  std::vector<bool> tables_;
  int64_t liveTags_ = 0;
  sim::Kernel kernel_;
  std::optional<Reactor> owned_;
  sim::Server server_;
  sim::Server unixServer_;
  sim::Server secureServer_;

  std::deque<Group> groups_;
  std::deque<User> users_;
  std::vector<User*> answering_;
  std::deque<PeerEnd> peers_;
  std::vector<PeerEnd*> sealedPeers_;
  std::unordered_map<const sim::KernelSocket*, End*> ends_;
  std::array<std::deque<Operation>, static_cast<size_t>(When::count)> reactions_;
  std::string scratch_;
  sim::Chaos chaos_;
  const size_t maxQueued_;  // by the reactor
  bool faulty_ = false;     // some call may fail without a reason
  bool fewDescriptors_ = false;
  bool everFew_ = false;
  bool calm_ = false;
  bool over_ = false;  // nobody begins anything any more
  uint64_t keys_ = 0;
  uint64_t turns_ = 0;
  uint64_t opened_ = 0;
  uint64_t closed_ = 0;
  uint64_t refused_ = 0;
  uint64_t thrown_ = 0;
  uint64_t errors_ = 0;
  uint64_t drainsOwed_ = 0;
  size_t at_ = 0;  // the operation
};

}  // namespace warren::swarm
