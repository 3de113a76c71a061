// SPDX-License-Identifier: Apache-2.0
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Collections;
import java.util.concurrent.CountDownLatch;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;

/**
 * Runs one Elasticsearch 7 node of the published distribution: Es7Main HOME
 * (settings: HOME/config/elasticsearch.yml, modules: HOME/modules).
 * Works as root, which the stock launcher refuses.
 */
public class Es7Main {
    public static void main(String[] args) throws Exception {
        // Must come first: without it the file readers of the server meet a null logger.
        LogConfigurator.registerErrorListener();
        LogConfigurator.setNodeName("n1");
        Path home = Paths.get(args[0]).toAbsolutePath();
        Path config = home.resolve("config");
        Settings settings = Settings.builder()
            .loadFromPath(config.resolve("elasticsearch.yml"))
            .put("path.home", home.toString())
            .build();
        Node node = new Node(InternalSettingsPreparer.prepareEnvironment(
            settings, Collections.emptyMap(), config, () -> "n1"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        new CountDownLatch(1).await();
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
